"""A gateway that stops answers what it was asked, and tells its clients when to come back."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.service_clients import Bare, Listener, listening
from tests.support.service_process import Service, wait_for

NewService = Callable[..., Service]
OPERATIONS = 20


@contextmanager
def under_way(service: Service) -> Iterator[tuple[Listener, list[Bare]]]:
    """A socket and connections with operations that their gateway has read, and no host answers yet."""
    host = service.actors("host")["host:0"]
    posts = [Bare(service) for _ in range(OPERATIONS)]
    with listening(service, "drained") as listener:
        os.kill(host, signal.SIGSTOP)
        try:
            body = json.dumps({"name": "drained"}).encode()
            head = b"POST /rpc/counter.increment HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %d\r\n\r\n" % len(body)
            for post in posts:
                post.send(head + body)
            for number in range(OPERATIONS):
                listener.say(type="increment", id=str(number))
            assert listener.silent()  # The answer to a ping: what was said before has been read.
            yield listener, posts
        finally:
            os.kill(host, signal.SIGCONT)
            for post in posts:
                post.socket.close()


def check_all_answered(listener: Listener, posts: list[Bare]) -> None:
    """Every operation has its answer, and then the socket is closed with a window to come back in."""
    results = {}
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            message = listener.hear()
            if message["type"] == "incrementResult":
                results[message["id"]] = message["result"]["value"]
    assert results.keys() == {str(number) for number in range(OPERATIONS)}
    answers = [post.answer() for post in posts]
    assert {answer.status for answer in answers} == {200}
    values = [*results.values(), *(json.loads(answer.body)["value"] for answer in answers)]
    assert sorted(values) == list(range(1, 2 * OPERATIONS + 1))
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 1012
    assert json.loads(closed.value.rcvd.reason) == {"reconnect": [0, 5]}


def refuses_connections(service: Service) -> bool:
    try:
        Bare(service).socket.close()
    except OSError:
        return True
    return False


def test_a_service_that_is_stopped_answers_what_it_was_asked(new_service: NewService) -> None:
    service = new_service(dedicated=0).start()
    with under_way(service) as (listener, posts):
        assert service.command is not None
        service.command.send_signal(signal.SIGTERM)
        wait_for("nobody is let in any more", lambda: refuses_connections(service), 10)
        os.kill(service.actors("host")["host:0"], signal.SIGCONT)
        check_all_answered(listener, posts)
    assert service.command.wait(20) == 0
    assert "Traceback" not in service.tail(200)


def test_a_gateway_that_is_told_to_end_does_the_same_and_comes_back(new_service: NewService) -> None:
    service = new_service(dedicated=0).start()
    [gateway] = service.pids("gateway")
    with under_way(service) as (listener, posts):
        os.kill(gateway, signal.SIGTERM)
        service.wait_for_line("action=gateway_drains .*reason=sigterm")
        os.kill(service.actors("host")["host:0"], signal.SIGCONT)
        check_all_answered(listener, posts)
    wait_for("the gateway is back", lambda: service.pids("gateway") not in ([gateway], []) and service.ready())
    with listening(service, "drained", snapshot=1) as listener:
        assert listener.hear()["value"] == 2 * OPERATIONS
    assert service.stop() == 0
