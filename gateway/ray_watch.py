"""Whether the Ray that this process has started, or has joined, is still alive on this machine."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

LOOK_S = 0.5
NEEDED = ("raylet", "gcs_server")  # Without them no actor that dies is started again.


@contextlib.contextmanager
def watching_ray(lost: Callable[[str], None]) -> Iterator[None]:
    """Call `lost`, in a thread of its own, with the name of the process that has gone.

    To look is also what lets Ray's other processes end: they follow one that has gone, and would take it for alive
    while it is a zombie of ours.
    """
    from ray._private import worker

    done = threading.Event()
    node = worker._global_node
    raylet = socket.socket(socket.AF_UNIX)
    raylet.connect(node.raylet_socket_name)

    def look() -> None:
        while not done.wait(LOOK_S):
            gone = [kind for kind, _ in node.dead_processes() if kind in NEEDED]
            if not gone and _ended(raylet):  # One that we have joined is no child of ours.
                gone = ["raylet"]
            if gone:
                lost(gone[0])
                return

    thread = threading.Thread(target=look, name="ray", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        raylet.close()


def end_ray() -> None:
    """End what is left of the Ray that this process has started. Its workers follow."""
    from ray._private import worker

    worker._global_node.kill_all_processes(check_alive=False)


def _ended(connection: socket.socket) -> bool:
    """Whether who is at the other end has gone. It has nothing to say to us."""
    try:
        return not connection.recv(1, socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    except OSError:
        return True
