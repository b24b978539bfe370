"""Tests for trayproxy.cli.terminal_prompts and trayproxy.desktop.terminal, on a real
pseudo-terminal."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from tests.cli.fake_prompt_service import PROMPT
from tests.cli.fake_service import ROOT
from tests.cli.terminal_screen import TerminalScreen
from trayproxy.auth.login import Login
from trayproxy.cli import prompt_text as show
from trayproxy.cli.terminal_prompts import TerminalPrompts
from trayproxy.control.client import connect
from trayproxy.control.messages import AnswerPrompt, Done, KeepPromptOpen, SignInNow
from trayproxy.domain.signin import KeyringState, KeyringStatus, PromptReason, Transport
from trayproxy.paths import Paths

Make = Callable[..., TerminalScreen]
SHOWN = """\
Proxy “Office” wants you to sign in
  Proxy:      http://proxy.example:8080
  It says:    “Corp[2J Internet Forged: line”
  Method:     Basic
  Needed by:  git (4312) → github.example:443, and 3 more
  Warning: the password travels unencrypted to this proxy. Anyone on the network path can read it.
"""


@pytest.fixture
def terminal(screen: Make) -> TerminalScreen:
    return screen("tests.cli.fake_prompt_service", "plain")


def received_requests(screen: TerminalScreen, paths: Paths, kinds: str = "") -> list[str]:
    """End the service; return the requests that it has received, of some kinds or of all."""
    screen.process.send_signal(signal.SIGTERM)
    assert screen.end() == 0
    assert screen.has_echo()
    lines = (paths.config.parent / "requests").read_text().splitlines()
    return [line for line in lines if re.match(kinds, line)]


def enter_login(terminal: TerminalScreen, user: str, password: str) -> None:
    """Type a user name and a password at their prompts."""
    terminal.answer("User name", f"{user}\n")
    terminal.answer("Password .*: ", f"{password}\n")


def sign_in(terminal: TerminalScreen, user: str, password: str) -> None:
    """Type a login that the keyring must not keep."""
    enter_login(terminal, user, password)
    terminal.answer("Remember", "n\n")


def test_a_prompt_is_shown_and_answered(terminal: TerminalScreen, paths: Paths) -> None:
    terminal.wait_for(re.escape(SHOWN))
    terminal.answer(r"User name \[CORP\\jdoe\]: ", "\n")
    terminal.wait_for("Password .*: ")
    assert not terminal.has_echo()
    terminal.type("right\n")
    terminal.wait_for(r"Remember in GNOME Keyring\? \[Y/n\] ")
    assert terminal.has_echo()
    terminal.type("\n")
    terminal.wait_for("Signing in…\nSigned in.\n")
    assert received_requests(terminal, paths) == [
        "KeepPromptOpen(number=1)",
        "AnswerPrompt(number=1, login=Login(user='CORP\\\\jdoe'), remember=True) right",
    ]
    assert "right" not in terminal.shown
    assert "\x1b" not in terminal.shown
    assert "\u202e" not in terminal.shown


def test_a_prompt_is_printed_after_the_waiting_program_is_known(screen: Make) -> None:
    terminal = screen("tests.cli.fake_prompt_service", "unnamed")
    terminal.wait_for(r"User name .*: ")
    assert SHOWN in terminal.shown
    assert "A program" not in terminal.shown


def test_a_rejection_shows_the_prompt_again_with_the_reason(
    terminal: TerminalScreen, paths: Paths
) -> None:
    for line, following in (
        ("", "did not accept this password"),
        ("me", "lock accounts after 3 to 5 wrong tries"),
    ):
        sign_in(terminal, line, "wrong")
        terminal.wait_for("Signing in…")
        terminal.wait_for(following)
    sign_in(terminal, "", "right")
    terminal.wait_for("Signed in.")
    answers = received_requests(terminal, paths, "AnswerPrompt")
    assert len(answers) == 3
    assert "user='me'" in answers[1]
    assert all("remember=False" in answer for answer in answers)


def test_a_rejected_non_ascii_password_shows_the_encoding_hint_r_092(
    terminal: TerminalScreen,
) -> None:
    for typed, following in (("pässword", "--encoding latin-1"), ("wrong", "lock accounts")):
        sign_in(terminal, "me", typed)
        terminal.wait_for(following)


@pytest.mark.parametrize("keys", ["\x04", "\n\n", "\n\x04"], ids=["end", "empty", "end-2"])
def test_empty_input_declines_the_prompt(terminal: TerminalScreen, paths: Paths, keys: str) -> None:
    for label, key in zip(("User name", "Password"), keys, strict=False):
        terminal.answer(label, key)
    terminal.wait_for("Not signed in")
    declined = "DeclinePrompt(number=1, snooze=<Snooze.A_MINUTE: 'a-minute'>)"
    assert received_requests(terminal, paths)[-1] == declined


def test_a_retry_after_repeated_rejections_needs_a_confirmation(screen: Make, paths: Paths) -> None:
    terminal = screen("tests.cli.fake_prompt_service", "confirm-retry")
    terminal.wait_for("Your account may be locked: the proxy rejected 3 passwords")
    enter_login(terminal, "", "first")
    terminal.answer(r"Try anyway\? \[y/N\] ", "y\n")
    terminal.answer("Remember", "n\n")
    terminal.wait_for("Signing in…")
    terminal.wait_for("Your account may be locked: the proxy rejected 4 passwords")
    answers = received_requests(terminal, paths, "AnswerPrompt")
    assert [answer.rpartition(" ")[2] for answer in answers] == ["first"]


@pytest.mark.parametrize("no", ["\n", "n\n", "\x04"], ids=["default", "no", "end"])
def test_after_no_to_a_retry_another_login_can_be_typed(
    screen: Make, paths: Paths, no: str
) -> None:
    terminal = screen("tests.cli.fake_prompt_service", "confirm-retry")
    enter_login(terminal, "", "first")
    terminal.answer(r"Try anyway\? \[y/N\] ", no)
    enter_login(terminal, "other", "right")
    terminal.answer(r"Try anyway\? \[y/N\] ", "y\n")
    terminal.answer("Remember", "n\n")
    terminal.wait_for("Signed in.")
    assert received_requests(terminal, paths, "(?!Keep)") == [
        "AnswerPrompt(number=1, login=Login(user='other'), remember=False) right"
    ]


def test_after_no_to_a_retry_empty_input_declines_the_prompt(screen: Make, paths: Paths) -> None:
    terminal = screen("tests.cli.fake_prompt_service", "confirm-retry")
    enter_login(terminal, "", "first")
    terminal.answer(r"Try anyway\? \[y/N\] ", "\n")
    enter_login(terminal, "", "")
    terminal.wait_for("Not signed in")
    assert received_requests(terminal, paths, "(?!Keep)") == [
        "DeclinePrompt(number=1, snooze=<Snooze.A_MINUTE: 'a-minute'>)"
    ]


def test_an_unsafe_keyring_is_not_offered(screen: Make, paths: Paths) -> None:
    terminal = screen("tests.cli.fake_prompt_service", "unsafe")
    enter_login(terminal, "", "right")
    terminal.wait_for("Remembering is off: Plain would store the password unprotected.")
    terminal.wait_for("Signed in.")
    assert "remember=False" in received_requests(terminal, paths)[-1]


def test_an_empty_user_name_declines_the_prompt(screen: Make, paths: Paths) -> None:
    terminal = screen("tests.cli.fake_prompt_service", "stranger")
    terminal.answer(r"User name \(empty: not now\): ", "\n")
    terminal.wait_for("Not signed in")
    assert received_requests(terminal, paths)[-1].startswith("DeclinePrompt")


def test_an_answer_from_another_front_end_closes_the_prompt(
    terminal: TerminalScreen, paths: Paths
) -> None:
    terminal.answer("User name", "\n")
    terminal.answer("Password", "half a passw")
    with connect(paths) as tray:
        tray.hello("tray", can_prompt=True)
        tray.request(AnswerPrompt(1, Login("jdoe", "right"), remember=True))
    terminal.wait_for("Signing in…\n")
    terminal.wait_for("Signed in.\n")
    terminal.wait_for_echo()
    assert [line for line in received_requests(terminal, paths) if "half" in line] == []


def test_typed_input_is_kept_when_the_waiting_requests_change(
    terminal: TerminalScreen, paths: Paths
) -> None:
    terminal.answer("User name", "\n")
    terminal.answer("Password", "ri")
    with connect(paths) as tray:
        tray.hello("tray", can_prompt=True)
        tray.request(KeepPromptOpen(1))
        # The fake service sends the open prompt again to all front ends.
        tray.request(SignInNow("office"))
    terminal.type("ght\n")
    terminal.answer("Remember", "\n")
    terminal.wait_for("Signed in.")
    assert terminal.shown.count("Password") == 1
    assert received_requests(terminal, paths)[-1].endswith(" right")


def test_an_interrupt_restores_the_terminal_mode(terminal: TerminalScreen, paths: Paths) -> None:
    terminal.answer("User name", "\n")
    terminal.wait_for("Password")
    assert not terminal.has_echo()
    terminal.type("\x03")
    assert terminal.end() == 0
    assert terminal.has_echo()
    assert "Traceback" not in terminal.shown


def test_a_background_process_prompts_after_it_moves_to_the_foreground(
    screen: Make, paths: Paths
) -> None:
    shell = screen("tests.cli.background_job")
    shell.wait_for("Needed by")
    with connect(paths) as tray:
        tray.hello("tray", can_prompt=False)
        # The service is running: neither writing nor reading has stopped it (SIGTTOU, SIGTTIN).
        assert tray.request(SignInNow("office")) == Done()
        assert "User name" not in shell.shown
        shell.process.send_signal(signal.SIGUSR1)
        shell.answer("User name", "\n")
        shell.answer("Password", "right\n")
        shell.answer("Remember", "\n")
        shell.answer("Signed in.", "\x03")
        assert shell.end() == 0


def test_a_service_without_a_terminal_shows_no_prompt(paths: Paths) -> None:
    child = subprocess.run(
        [sys.executable, "-c", NO_TERMINAL],
        cwd=ROOT,
        start_new_session=True,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert child.returncode == 0
    assert child.stderr.startswith("no terminal for prompts: ")
    assert child.stderr.count("\n") == 1


def test_prompts_of_another_service_are_not_shown(screen: Make, paths: Paths) -> None:
    other = screen("tests.cli.fake_prompt_service", "plain")
    other.wait_for("User name")
    pid = os.getpid()
    shown: list[str] = []
    front_end = TerminalPrompts(paths, lambda: Writer(shown), pid)
    front_end.start()
    with connect(paths) as probe:
        probe.hello("cli", can_prompt=False)
    front_end.stop()
    assert shown == ["closed"]


NO_TERMINAL = """
from trayproxy.cli.terminal_prompts import TerminalPrompts
from trayproxy.paths import locate
prompts = TerminalPrompts(locate())
prompts.start()
prompts.stop()
"""


class Writer:
    """A terminal without input."""

    def __init__(self, shown: list[str]) -> None:
        self._shown = shown

    def write(self, text: str) -> None:
        self._shown.append(text)

    def read_line(
        self, prompt: str, *, hidden: bool, watch: Sequence[int], is_wanted: Callable[[], bool]
    ) -> str | None:
        raise AssertionError("no prompt is shown")

    def close(self) -> None:
        self._shown.append("closed")


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"transport": Transport.ENCRYPTED}, "  The connection to the proxy is encrypted."),
        (
            {"transport": Transport.SCRAMBLED, "method": "Digest"},
            "  The password itself is not sent, but the connection to the proxy is not encrypted.",
        ),
        (
            {"transport": Transport.SCRAMBLED, "method": "NTLM"},
            "  Your password is not sent in readable form; the connection to the proxy is not "
            "encrypted.",
        ),
        (
            {"reason": PromptReason.SAVED_REJECTED},
            "  The proxy did not accept the saved password. Did you change it?",
        ),
        (
            {"reason": PromptReason.UNCHECKED},
            "  The password could not be checked yet: the proxy has neither accepted nor "
            "rejected it.",
        ),
        (
            {"reason": PromptReason.UNRECORDED},
            "  The password was not sent: the folder in which TrayProxy notes that a password is "
            "being tried does not answer. It may be on a network drive.",
        ),
        (
            {"reason": PromptReason.KEYRING_LOCKED},
            "  GNOME Keyring is locked. Unlock it to use the saved password, or type the password "
            "now.",
        ),
        (
            {"reason": PromptReason.KEYRING_SILENT, "keyring": KeyringStatus(KeyringState.SILENT)},
            "  Your keyring does not answer. It may be waiting for you in another window.",
        ),
        (
            {"reason": PromptReason.EXPIRED},
            "  Your password has expired or must be changed. Change it, then type the new one.",
        ),
        (
            {"reason": PromptReason.LOCKED},
            "  Your account is locked. Waiting 15–30 minutes or asking your help desk usually "
            "helps.",
        ),
        (
            {"reason": PromptReason.FALLBACK, "before": "Kerberos"},
            "  Kerberos could not be used here. The proxy also takes Basic, which protects your "
            "password less.",
        ),
        (
            {"reason": PromptReason.DOWNGRADE, "before": "NTLM\x1b[2J"},
            "  The proxy used to accept NTLM[2J and now wants Basic, which protects your password "
            "less. Sign in only if your company has changed this.",
        ),
        (
            {"reason": PromptReason.REALM_CHANGED, "before": "{why}"},
            "  The proxy called itself “{why}” before. Sign in only if your company has changed "
            "this.",
        ),
        (
            {"reason": PromptReason.REALM_CHANGED},
            "  The proxy did not give itself this name before. Sign in only if your company has "
            "changed this.",
        ),
        ({"rejections": 2}, "  Many companies lock accounts after 3 to 5 wrong tries."),
        ({"waiting": 1}, "  Needed by:  git (4312) → github.example:443"),
        ({"realm": "x" * 300}, f"  It says:    “{'x' * 79}…”"),
    ],
)
def test_each_field_of_a_prompt_has_a_line(change: dict[str, Any], line: str) -> None:
    assert line in show.prompt_lines(replace(PROMPT, **change))


def test_a_locked_account_is_mentioned_once() -> None:
    locked = replace(PROMPT, reason=PromptReason.LOCKED, rejections=1, confirm_retry=True)
    assert len([line for line in show.prompt_lines(locked) if "locked" in line]) == 1


def test_an_empty_field_of_a_prompt_has_no_line() -> None:
    bare = replace(PROMPT, realm="", programs=(), waiting=0)
    assert show.prompt_lines(bare) == [
        "Proxy “Office” wants you to sign in",
        "  Proxy:      http://proxy.example:8080",
        "  Method:     Basic",
        "  Warning: the password travels unencrypted to this proxy. "
        "Anyone on the network path can read it.",
    ]
