"""A TCP proxy that cuts a connection at the worst moment: the server has the request, the client never hears."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self


class CuttingProxy:
    """Passes bytes on between clients and one server; drops what is said next, and the connection, when it is asked to.
    """

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._armed = {True: threading.Event(), False: threading.Event()}  # For answers, for requests.
        self.cut = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut_next_answer(self) -> None:
        """Read the next bytes of the server and close the connection instead of passing them on."""
        self.cut.clear()
        self._armed[True].set()

    def cut_next_request(self) -> None:
        """Pass on only the first half of what a client says next, and close the connection."""
        self.cut.clear()
        self._armed[False].set()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                threading.Thread(target=self._pass_on, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pass_on, args=(server, client, True), daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self._armed[answers].is_set():
                    self._armed[answers].clear()
                    if not answers:
                        target.sendall(data[: len(data) // 2])
                    self.cut.set()
                    break
                target.sendall(data)
        for each in (source, target):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Take no more connections."""
        self._listener.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
