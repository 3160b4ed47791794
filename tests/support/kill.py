"""Ending processes of a service in the ways that nobody is prepared for."""

from __future__ import annotations

import os
import signal
import time

import psutil

from tests.support.service_process import Service, wait_for


def kill_actor(service: Service, kind: str, name: str) -> float:
    """`kill -9` for the process that runs an actor; returns the monotonic time at which it was done."""
    pid = service.actors(kind)[name]
    os.kill(pid, signal.SIGKILL)
    return time.monotonic()


def wait_until_back(service: Service, kind: str, name: str, after: int, seconds: float = 30.0) -> None:
    """Wait until an actor that was killed runs again and the service is whole; `after`: the log's size at the kill.

    A host that took too long was replaced by another one, of another name.
    """
    if kind == "supervisor":
        wait_for("a new supervisor", lambda: service.actors("supervisor"), seconds)
    elif kind == "host":
        service.wait_for_line(r"action=host_up host=host:\d+ ", after, seconds)
    else:
        service.wait_for_line(rf"action={kind}_started .*\b{name}\b", after, seconds)
    wait_for("the service is ready again", service.ready, seconds)


def freeze(pid: int) -> None:
    """SIGSTOP: the process keeps its sockets and does nothing."""
    psutil.Process(pid).suspend()


def thaw(pid: int) -> None:
    """Let a frozen process go on."""
    psutil.Process(pid).resume()
