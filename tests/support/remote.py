"""A service for tests that are not written in Python: `python -m tests.support.remote` runs one until stdin ends.

Prints a line `{"url": …, "control": …}` when the service is ready. A POST to the control address does something to it:
`/kill/gateway`, `/kill/host` (of each kind all, with SIGKILL), `/freeze/KIND`, `/thaw/KIND`, `/drain` (SIGTERM to the
gateways), `/stop`, `/start`; each answers when it is done, `/start` and `/kill/…` when the service is whole again.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.kill import freeze, kill_actor, thaw, wait_until_back
from tests.support.service_process import Service


class Remote:
    """What can be done to the service."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._lock = threading.Lock()

    def do(self, verb: str, kind: str) -> None:
        """Do it, one thing at a time. Raises KeyError for what is not known."""
        with self._lock:
            {"kill": self._kill, "freeze": self._freeze, "thaw": self._thaw, "drain": self._drain,
             "stop": self._stop, "start": self._start}[verb](kind)  # fmt: skip

    def _kill(self, kind: str) -> None:
        after = self._service.log_size()
        names = sorted(self._service.actors(kind))
        for name in names:
            kill_actor(self._service, kind, name)
        for name in names:
            wait_until_back(self._service, kind, name, after)

    def _freeze(self, kind: str) -> None:
        for pid in self._service.pids(kind):
            freeze(pid)

    def _thaw(self, kind: str) -> None:
        for pid in self._service.pids(kind):
            thaw(pid)

    def _drain(self, kind: str) -> None:
        for pid in self._service.pids("gateway"):
            os.kill(pid, signal.SIGTERM)

    def _stop(self, kind: str) -> None:
        self._service.stop()

    def _start(self, kind: str) -> None:
        self._service.start()


def _handler(remote: Remote) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            verb, _, kind = self.path.strip("/").partition("/")
            try:
                remote.do(verb, kind)
                status, said = 200, "done"
            except Exception as error:  # Whatever it is, the test that asked is told.
                status, said = 500, f"{type(error).__name__}: {error}"
            self.send_response(status)
            self.end_headers()
            self.wfile.write(said.encode())

        def log_message(self, format: str, *args: object) -> None:
            """The tests' output is theirs."""

    return Handler


def main() -> None:
    with Service(hosts=2, gateways=1, **dict(each.split("=", 1) for each in sys.argv[1:])) as service:
        service.start()
        control = ThreadingHTTPServer(("127.0.0.1", 0), _handler(Remote(service)))
        threading.Thread(target=control.serve_forever, daemon=True).start()
        print(json.dumps({"url": service.url, "control": f"http://127.0.0.1:{control.server_port}"}), flush=True)
        sys.stdin.read()
        control.shutdown()


if __name__ == "__main__":
    main()
