"""The cost of parking a request does not depend on the number of parked requests.

A browser that restores its tabs at log-on sends hundreds of requests before the first password is
proved. Work proportional to their number for each request would block the service.
"""

import gc
import sys
from collections.abc import Callable
from functools import partial
from types import FrameType

import pytest

from tests.desk.machine_driver import BASIC, OFFICE, SPACE, MachineDriver
from tests.support.values import RIGHT
from trayproxy.desk.machine.events import Effect, Event, RequestChallenged

FEW, MANY = 20, 220


class NeverRecorded(MachineDriver):
    """A driver with a slow disk: no trial is ever recorded."""

    def handle(self, event: Event) -> list[Effect]:
        effects = self.machine.handle(self.now, event)
        self.effects += effects
        return effects


def looking_up(driver: MachineDriver) -> None:
    """Keep the keyring look-up outstanding."""


def prompting(driver: MachineDriver) -> None:
    driver.finish_lookup(None)
    driver.advance(driver.limits.prompt_delay)


def recording(driver: MachineDriver) -> None:
    driver.finish_lookup(RIGHT)


def count_calls(action: Callable[[], object]) -> int:
    """Return the number of function calls made by an action, including calls of C functions."""
    count = 0

    def note(frame: FrameType, kind: str, argument: object) -> None:
        nonlocal count
        count += kind in ("call", "c_call")

    gc.disable()  # Finalizers of other tests' objects would count.
    sys.setprofile(note)
    try:
        action()
    finally:
        sys.setprofile(None)
        gc.enable()
    return count


@pytest.mark.parametrize("begin", [looking_up, prompting, recording])
@pytest.mark.parametrize("kind", [MachineDriver, NeverRecorded])
def test_the_cost_of_parking_a_request_does_not_grow_with_their_number(
    kind: type[MachineDriver], begin: Callable[[MachineDriver], None]
) -> None:
    driver = kind()
    driver.challenge()
    begin(driver)
    costs = []
    for number in range(2, MANY + 1):
        event = RequestChallenged(number, SPACE, OFFICE, (BASIC,), f"host{number}.example:443")
        costs.append(count_calls(partial(driver.machine.handle, driver.now, event)))
    assert costs[MANY - 2] == costs[FEW]
