"""Tests for trayproxy.cli.status."""

import dataclasses
from typing import Any

import pytest
from msgspec.structs import replace

from tests.cli.fake_service import OFFICE
from trayproxy.cli.status import as_text, exit_code, heading, state
from trayproxy.control.messages import (
    ListenerState,
    Status,
    SystemProxyState,
    SystemProxyStatus,
    UpstreamState,
)
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import SignInState
from trayproxy.profiles.profile import SignIn

UP = Status("0.1.0", 7, ListenerState.UP, "127.0.0.1:3128", profile=OFFICE, profiles=(OFFICE,))


@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({}, "ready", "Office — ready, not used yet"),
        ({"upstream": UpstreamState.OK}, "ok", "Office — connected"),
        ({"sign_in": SignInState.NEEDED}, "signin", "Office — sign-in needed"),
        (
            {"sign_in": SignInState.SNOOZED, "waiting": 4},
            "signin",
            "Office — sign-in needed (4 requests waiting)",
        ),
        (
            {"sign_in": SignInState.REJECTED, "waiting": 1, "upstream": UpstreamState.UNREACHABLE},
            "signin",
            "Office — sign-in needed (1 request waiting)",
        ),
        ({"upstream": UpstreamState.UNREACHABLE}, "trouble", "Office — cannot reach proxy.example"),
        (
            {"sign_in": SignInState.UNUSABLE, "upstream": UpstreamState.OK},
            "trouble",
            "Office — no common way to sign in",
        ),
        ({"listener": ListenerState.STARTING}, "starting", "Starting…"),
        ({"listener": ListenerState.FAILED}, "stopped", "Not running"),
        (
            {
                "profile": dataclasses.replace(OFFICE, sign_in=SignIn.NONE),
                "sign_in": SignInState.UNUSABLE,
                "upstream": UpstreamState.OK,
            },
            "trouble",
            "Office — the proxy wants a sign-in",
        ),
        ({"profile": None, "profiles": ()}, "starting", "No profile yet"),
        (
            {"profile": None, "profiles": (), "listener": ListenerState.STARTING},
            "starting",
            "Starting…",
        ),
        (
            {"profile": None, "profiles": (OFFICE,)},
            "stopped",
            "No profile is in use; choose one: trayproxy profiles use",
        ),
        (
            {"profile": None, "profiles": (OFFICE,), "listener": ListenerState.FAILED},
            "stopped",
            "Not running",
        ),
    ],
)
def test_the_state_has_the_name_of_the_trays_state(
    changes: dict[str, Any], name: str, words: str
) -> None:
    status = replace(UP, **changes)
    assert (state(status), heading(status)) == (name, words)


def test_connecting_directly_is_a_state() -> None:
    status = replace(UP, profile=None, direct=True)
    assert state(status) == "direct"
    assert heading(status) == "Connecting directly"
    assert heading(replace(status, listener=ListenerState.FAILED)) == "Not running"


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({}, 0),
        ({"sign_in": SignInState.NEEDED}, 4),
        ({"sign_in": SignInState.SNOOZED}, 4),
        ({"sign_in": SignInState.UNUSABLE, "upstream": UpstreamState.OK}, 4),
        ({"upstream": UpstreamState.UNREACHABLE}, 5),
        ({"listener": ListenerState.FAILED, "problem": Problem("TP-101", "Taken", "")}, 7),
        ({"profile": None}, 1),
        ({"profile": None, "profiles": ()}, 1),
        ({"profile": None, "direct": True}, 0),
    ],
)
def test_the_exit_code_depends_on_the_state(changes: dict[str, Any], code: int) -> None:
    assert exit_code(replace(UP, **changes)) == code


@pytest.mark.parametrize(
    ("system_proxy", "text"),
    [
        (SystemProxyStatus(), None),
        (SystemProxyStatus(SystemProxyState.ON, targets=("KDE",)), "On: KDE"),
        (SystemProxyStatus(waiting=("macOS: VPN",)), "Off; not put back yet: macOS: VPN"),
        (
            SystemProxyStatus(holder="/h/config.toml"),
            "Off: the TrayProxy with the settings /h/config.toml has set it",
        ),
    ],
)
def test_the_system_proxy_is_named_if_it_matters(
    system_proxy: SystemProxyStatus, text: str | None
) -> None:
    rows = as_text(replace(UP, system_proxy=system_proxy)).splitlines()
    found = [row.partition(":")[2].strip() for row in rows if "System proxy:" in row]
    assert found == ([] if text is None else [text])
