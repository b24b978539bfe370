"""One more request that waits costs the same however many wait already.

A browser that restores its tabs at log-on sends hundreds of requests before the first password is
proved. Work that grew with their number for each of them would hold up the whole service.
"""

import sys
from collections.abc import Callable
from functools import partial
from types import FrameType

import pytest

from tests.desk.play import BASIC, KEY, OFFICE, RIGHT, Play
from trayproxy.desk.machine.events import Effect, Event, RequestChallenged

FEW, MANY = 20, 220


class Unrecorded(Play):
    """A run whose disk is slow: that a login is on trial is never written down."""

    def do(self, event: Event) -> list[Effect]:
        effects = self.machine.handle(self.now, event)
        self.effects += effects
        return effects


def looking(play: Play) -> None:
    """Leave the keyring without an answer."""


def asking(play: Play) -> None:
    play.found(None)
    play.wait(play.rules.prompt_delay)


def trying(play: Play) -> None:
    play.found(RIGHT)


def calls(what: Callable[[], object]) -> int:
    """Return how many functions are called by this, those of C included."""
    count = 0

    def note(frame: FrameType, kind: str, argument: object) -> None:
        nonlocal count
        count += kind in ("call", "c_call")

    sys.setprofile(note)
    try:
        what()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("begin", [looking, asking, trying])
@pytest.mark.parametrize("kind", [Play, Unrecorded])
def test_one_more_request_that_waits_costs_no_more_among_many(
    kind: type[Play], begin: Callable[[Play], None]
) -> None:
    play = kind()
    play.challenge()
    begin(play)
    costs = []
    for number in range(2, MANY + 1):
        event = RequestChallenged(number, KEY, OFFICE, (BASIC,), f"host{number}.example:443")
        costs.append(calls(partial(play.machine.handle, play.now, event)))
    assert costs[MANY - 2] == costs[FEW]
