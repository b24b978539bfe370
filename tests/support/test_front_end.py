"""Tests for tests.support.front_end, with the real control server and a scripted service."""

import asyncio
from collections.abc import Iterator
from threading import Event as Flag
from threading import Thread

import pytest
from msgspec.structs import replace

from tests.support.front_end import FrontEnd
from tests.support.processes import Home
from tests.support.session_handler import SessionHandler
from trayproxy.auth.login import Login
from trayproxy.control.messages import (
    AnswerPrompt,
    DeclinePrompt,
    Done,
    Event,
    ListenerState,
    PromptChanged,
    PromptClosed,
    Reply,
    Request,
    ShowWindow,
    Status,
    StatusChanged,
    Subscribe,
)
from trayproxy.control.server import Server, Session
from trayproxy.domain.signin import Ending, Prompt, PromptReason, Snooze, Transport
from trayproxy.paths import Paths, locate

STATUS = Status("1", 1, ListenerState.UP, "127.0.0.1:1")
QUESTION = Prompt(
    1,
    "office",
    "Office",
    "http://proxy:1",
    "x",
    "Basic",
    Transport.READABLE,
    "",
    PromptReason.NEEDED,
)
RIGHT, WRONG = Login("alice", "right"), Login("alice", "wrong")


class PromptHandler(SessionHandler):
    """A service with a prompt for each subscriber, and a single right password."""

    def __init__(self, paths: Paths) -> None:
        super().__init__()
        self.heard: list[Request] = []
        self._paths = paths
        self._question = QUESTION
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        self._up = Flag()
        self._thread = Thread(target=self._loop.run_until_complete, args=(self._live(),))
        self._thread.start()
        assert self._up.wait(20)

    def close(self) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join()
            self._loop.close()

    def say(self, event: Event) -> None:
        self._loop.call_soon_threadsafe(self.broadcast, event)

    async def _live(self) -> None:
        server = Server(self._paths, self)
        await server.start()
        self._up.set()
        await self._over.wait()
        await server.close()

    async def handle(self, session: Session, request: Request) -> Reply:
        self.heard.append(request)
        match request:
            case Subscribe():
                session.send_event(PromptChanged(self._question))
                return STATUS
            case AnswerPrompt(number, login, _) if login == WRONG:
                session.send_event(PromptChanged(replace(self._question, checking=True)))
                self._question = replace(self._question, rejections=1)
                session.send_event(PromptChanged(self._question))
            case AnswerPrompt(number, _, _):
                session.send_event(PromptClosed(number, Ending.ACCEPTED))
            case DeclinePrompt(number, _):
                session.send_event(PromptClosed(number, Ending.DECLINED))
        return Done()


@pytest.fixture
def paths(place: Home) -> Paths:
    return locate({"TRAYPROXY_HOME": str(place.path("home"))})


@pytest.fixture
def play(paths: Paths) -> Iterator[PromptHandler]:
    playing = PromptHandler(paths)
    yield playing
    playing.close()


def test_prompts_are_answered_with_the_reactions_in_order(
    play: PromptHandler, paths: Paths
) -> None:
    with FrontEnd(paths, [WRONG, RIGHT]) as front_end:
        assert front_end.wait_for_ending(QUESTION) is Ending.ACCEPTED
        assert [question.rejections for question in front_end.prompts] == [1]
    assert [r.login for r in play.heard if isinstance(r, AnswerPrompt)] == [WRONG, RIGHT]


def test_a_snooze_declines_the_prompt(play: PromptHandler, paths: Paths) -> None:
    with FrontEnd(paths, [Snooze.A_WHILE]) as front_end:
        assert front_end.wait_for_ending(QUESTION) is Ending.DECLINED
    assert play.heard[-1] == DeclinePrompt(1, Snooze.A_WHILE)


def test_without_reactions_a_prompt_stays_open_until_the_test_answers(
    play: PromptHandler, paths: Paths
) -> None:
    with FrontEnd(paths, remember=False) as front_end:
        question = front_end.wait_for_prompt()
        front_end.answer(question, RIGHT)
        front_end.wait_for_ending(question)
    assert play.heard[-1] == AnswerPrompt(1, RIGHT, remember=False)


def test_a_test_can_make_any_request(play: PromptHandler, paths: Paths) -> None:
    with FrontEnd(paths) as front_end:
        assert front_end.request(ShowWindow("token")) == Done()
    assert play.heard[-1] == ShowWindow("token")


def test_a_test_can_wait_for_a_status(play: PromptHandler, paths: Paths) -> None:
    with FrontEnd(paths) as front_end:
        assert front_end.status == STATUS
        play.say(StatusChanged(replace(STATUS, waiting=3)))
        assert front_end.wait_for_status(lambda status: status.waiting == 3).waiting == 3


def test_the_trace_contains_only_received_messages(play: PromptHandler, paths: Paths) -> None:
    with FrontEnd(paths, [WRONG, RIGHT]) as front_end:
        front_end.wait_for_ending(QUESTION)
        assert b"PromptClosed" in front_end.trace
        assert b"wrong" not in front_end.trace


def test_waiting_ends_when_the_service_goes_away(play: PromptHandler, paths: Paths) -> None:
    with FrontEnd(paths) as front_end:
        front_end.wait_for_prompt()
        play.close()
        with pytest.raises(AssertionError, match="went away"):
            front_end.wait_for_status(lambda status: False)
