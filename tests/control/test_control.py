"""Tests for trayproxy.control: client and server together."""

import asyncio
import select

import pytest

from tests.control.running import STATUS, RunningServer
from tests.support.values import OFFICE, PROMPT
from trayproxy.control.client import DisconnectedError, NoReplyError
from trayproxy.control.messages import (
    CheckProfile,
    CheckResult,
    Done,
    Envelope,
    Failed,
    GetStatus,
    PromptChanged,
    Quitting,
    StatusChanged,
    Subscribe,
    UseProfile,
)


def test_a_request_receives_its_reply(running: RunningServer) -> None:
    with running.client() as client:
        assert client.request(GetStatus()) == STATUS
        assert client.request(UseProfile("office")) == Done()
    assert running.handler.requests == [GetStatus(), UseProfile("office")]
    assert running.handler.attached_front_ends == ["cli"]


def test_only_subscribers_receive_events(running: RunningServer) -> None:
    with running.client() as silent, running.client("tray", can_prompt=True) as client:
        assert client.request(Subscribe()) == STATUS
        running.call(lambda: running.handler.broadcast(Quitting()))
        events = client.events(5)
        assert next(events) == PromptChanged(PROMPT)
        assert next(events) == Quitting()
        silent.request(GetStatus())
        assert silent.receive_ready() == []


def test_a_front_end_with_an_event_loop_watches_the_descriptor(running: RunningServer) -> None:
    with running.client() as client:
        number = client.send(GetStatus())
        assert select.select([client], [], [], 5)[0]
        assert client.receive_ready() == [Envelope(STATUS, number)]
        assert client.receive_ready() == []


def test_a_slow_request_does_not_delay_others(running: RunningServer) -> None:
    with running.client() as client:
        slow = client.send(CheckProfile(OFFICE))
        assert client.request(GetStatus()) == STATUS
        running.loop.call_soon_threadsafe(running.handler.finish_checks.set)
        assert select.select([client], [], [], 5)[0]
        assert client.receive_ready() == [Envelope(CheckResult(()), slow)]


def test_a_missing_reply_times_out(running: RunningServer) -> None:
    with running.client() as client, pytest.raises(NoReplyError):
        client.request(CheckProfile(OFFICE), timeout_s=0.05)


def test_the_request_of_a_disconnected_front_end_ends_with_the_server(
    running: RunningServer,
) -> None:
    with running.client() as client, pytest.raises(NoReplyError):
        client.request(CheckProfile(OFFICE), timeout_s=0.05)
    assert running.handler.front_end_detached.wait(5)
    running.call(running.server.close)
    # Only the task that runs this check is left.
    assert running.call(lambda: len(asyncio.all_tasks())) == 1


def test_an_error_in_the_handler_is_reported_and_the_session_continues(
    running: RunningServer,
) -> None:
    with running.client() as client:
        reply = client.request(UseProfile("broken"))
        assert isinstance(reply, Failed)
        assert reply.problem.id == "TP-903"
        assert client.request(GetStatus()) == STATUS


def test_a_disconnected_front_end_is_reported_to_the_handler(running: RunningServer) -> None:
    running.client().close()
    assert running.handler.front_end_detached.wait(5)


def test_closing_the_server_disconnects_the_front_ends(running: RunningServer) -> None:
    with running.client() as client:
        running.call(running.server.close)
        with pytest.raises(DisconnectedError):
            client.request(GetStatus())
    assert not running.paths.socket.exists()


def test_messages_sent_before_closing_arrive(running: RunningServer) -> None:
    with running.client() as client:
        client.request(Subscribe())
        running.call(lambda: running.handler.broadcast(StatusChanged(STATUS)))
        running.call(running.server.close)
        events = client.events(5)
        assert [next(events), next(events)] == [PromptChanged(PROMPT), StatusChanged(STATUS)]
