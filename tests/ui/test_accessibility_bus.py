"""Tests of the sign-in dialog with a listener on the accessibility bus (promise 3)."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.support.accessibility_bus import (
    PASSWORD_TEXT,
    TEXT,
    BusListener,
    Field,
    accessibility_bus,
)
from tests.support.display import Desktop, x_server
from tests.support.processes import SOURCES, Home, Process, running
from tests.support.window_manager import fluxbox

# Tests that start an X server run faster one after another.
pytestmark = pytest.mark.xdist_group("display")

TYPED = "typed-Kq7w"
PASTED = "pasted-Vb3x"
COMPOSED = "composed-Zt9y"
DROPPED = "dropped-Jm5p"
SHOWN = "shown-Hr8f"
BULLETS = frozenset("\N{BULLET}\N{BLACK CIRCLE}")
"""The characters allowed for the password: the bullet, and the mask character of the style."""


@dataclass(frozen=True, slots=True)
class DialogOnBus:
    """The sign-in dialog on a desktop with a listener on the accessibility bus.

    Attributes:
        here: The desktop.
        listener: A program on the accessibility bus.
        process: The program with the dialog.
        user: The field for the user name.
        password: The field for the password.
    """

    here: Desktop
    listener: BusListener
    process: Process
    user: Field
    password: Field

    def wait_for_length(self, length: int) -> None:
        """Wait until the password has this length."""
        self.listener.wait_until(lambda: len(self.listener.read(self.password)) == length)


@pytest.fixture
def sign_in(place: Home) -> Iterator[DialogOnBus]:
    with x_server(place) as display, accessibility_bus(place) as bus:
        here = Desktop(place, display, bus.session)
        listener = BusListener(bus)
        texts = {"CLIPBOARD": PASTED, "COMPOSED": COMPOSED, "DROPPED": DROPPED}
        path = {"PYTHONPATH": str(SOURCES)}
        environment = {**here.environment(), **bus.environment(), **texts, **path}
        argv = [sys.executable, "-m", "tests.ui.sign_in_program"]
        with fluxbox(here), running(argv, env=environment, cwd=SOURCES) as process:
            here.wait_until_active(here.wait_for_window("^Sign in to proxy"))
            password = listener.wait_for_field(PASSWORD_TEXT)
            yield DialogOnBus(here, listener, process, listener.wait_for_field(TEXT), password)
        listener.close()


def texts_on_bus(sign_in: DialogOnBus, field: Field) -> str:
    return "".join(change.text for change in sign_in.listener.changes(field))


def test_the_accessibility_bus_carries_the_user_name_but_not_the_password(
    sign_in: DialogOnBus,
) -> None:
    here, listener = sign_in.here, sign_in.listener
    here.press("shift+Tab")
    here.type("Zoe")
    # The listener receives the user name, so it would receive the password as well.
    listener.wait_until(lambda: "Zoe" in texts_on_bus(sign_in, sign_in.user))
    here.press("Tab")
    here.type(TYPED)
    sign_in.wait_for_length(length := len(TYPED))
    here.press("ctrl+v")
    sign_in.wait_for_length(length := length + len(PASTED))
    here.press("shift+Insert")
    sign_in.wait_for_length(length := length + len(PASTED))
    here.run("xdotool", "mousemove", *map(str, listener.centre(sign_in.password)), "click", "2")
    sign_in.wait_for_length(length := length + len(PASTED))
    here.press("F2")
    sign_in.wait_for_length(length := length + len(COMPOSED))
    here.press("F3")
    sign_in.wait_for_length(length := length + len(DROPPED))
    here.press("ctrl+h", "End")
    here.type(SHOWN)
    sign_in.wait_for_length(length := length + len(SHOWN))
    shown = listener.read(sign_in.password)
    here.press("BackSpace", "Home", "Delete")
    sign_in.wait_for_length(length := length - 2)
    here.press("Return")
    sign_in.process.out.wait_for(f"^answered {length}$")
    here.press("Escape")
    assert sign_in.process.wait() == 0
    assert set(shown) <= BULLETS
    assert set(texts_on_bus(sign_in, sign_in.password)) <= BULLETS
    kinds = {change.kind for change in listener.changes(sign_in.password)}
    assert kinds == {"insert", "delete"}
    received_texts = listener.heard()
    assert not [
        text for text in (TYPED, PASTED, COMPOSED, DROPPED, SHOWN) if text in received_texts
    ]
