"""Tests for the output of trayproxy status, with a service of the tests."""

import dataclasses
import json
from time import mktime

import pytest
from msgspec.structs import replace

from tests.cli.conftest import Cli
from tests.cli.fake_service import LAB, OFFICE, FakeServiceHandler, connected
from trayproxy.control.messages import NetworkSwitch, RefusedClients, SwitchCause
from trayproxy.desk.problems import problem_of
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import RefusalReason


def test_the_status_is_shown_as_text(cli: Cli, service: FakeServiceHandler) -> None:
    service.status = connected(service.status)
    assert cli("status") == (
        0,
        "Office — connected as CORP\\jdoe\n"
        "  Local address:  127.0.0.1:4128\n"
        "  Proxy:          http://proxy.example:8080\n"
        "  Sign-in:        accepted\n"
        "  Keyring:        GNOME Keyring, in use\n"
        "  Connections:    3\n",
        "",
    )


def test_problems_are_shown_with_their_ids(cli: Cli, service: FakeServiceHandler) -> None:
    service.status = replace(
        service.status,
        problem=Problem("TP-203", "proxy.example does not answer", "No answer\x1b[2J."),
        notices=(Problem("TP-801", "The settings file has a mistake", "line 3."),),
    )
    _, out, _ = cli("status")
    assert "  Problem:        proxy.example does not answer. No answer[2J. (TP-203)\n" in out
    assert "  Notice:         The settings file has a mistake. line 3. (TP-801)\n" in out


def test_every_text_of_the_desk_is_shown_in_full(cli: Cli, service: FakeServiceHandler) -> None:
    # The end of a text tells the user what to do.
    sentence = "The proxy accepted Digest (SHA-512-256) before, which protects the password better."
    profile = dataclasses.replace(OFFICE, name="x" * 64)
    problems = tuple(problem_of(reason, profile, sentence) for reason in RefusalReason)
    service.status = replace(service.status, notices=problems)
    _, out, _ = cli("status")
    for problem in problems:
        assert problem.body in out


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"saved": True}, "  Password:       saved\n"),
        ({"saved": False}, "  Password:       not saved\n"),
        ({"screen_locked": True}, "  Screen:         locked; questions wait"),
    ],
)
def test_a_saved_password_and_a_locked_screen_are_shown(
    changes: dict[str, bool], line: str, cli: Cli, service: FakeServiceHandler
) -> None:
    assert line.partition(":")[0] not in cli("status")[1]
    service.status = replace(service.status, **changes)
    assert line in cli("status")[1]


def test_refused_clients_are_shown(cli: Cli, service: FakeServiceHandler) -> None:
    assert "Refused" not in cli("status")[1]
    known = RefusedClients(3, "nobody", "nc", mktime((2026, 7, 1, 12, 5, 0, 0, 0, -1)))
    service.status = replace(service.status, refused_clients=known)
    _, out, _ = cli("status")
    assert "  Refused:        3 connections, the last one of user nobody (nc) at 12:05\n" in out
    refused = json.loads(cli("status", "--json")[1])["strangers"]
    assert refused == {"count": 3, "user": "nobody", "program": "nc", "last": known.last}
    service.status = replace(service.status, refused_clients=RefusedClients(1, last=1e9))
    _, out, _ = cli("status")
    assert "1 connection, the last one of a program that had already ended at " in out


def test_json_is_printable_ascii_for_any_program_name(
    cli: Cli, service: FakeServiceHandler
) -> None:
    name = "\x9b2J \u202e Ü 👩"
    service.status = replace(service.status, refused_clients=RefusedClients(1, "nobody", name, 0.0))
    out = cli("status", "--json")[1]
    assert out.isascii()
    assert out.removesuffix("\n").isprintable()
    assert json.loads(out)["strangers"]["program"] == name


def test_json_is_versioned(cli: Cli, service: FakeServiceHandler) -> None:
    service.status = connected(service.status)
    code, out, err = cli("status", "--json")
    known = json.loads(out)
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert known["schema"] == 1
    assert known["state"] == "ok"
    assert known["address"] == "127.0.0.1:4128"
    upstream = {"host": "proxy.example", "port": 8080, "scheme": "http"}
    assert known["profile"]["upstream"] == upstream
    assert [profile["id"] for profile in known["profiles"]] == ["office", "lab"]
    assert known["keyring"] == {"state": "ok", "name": "GNOME Keyring"}


@pytest.mark.parametrize(
    ("switch", "text"),
    [
        (
            NetworkSwitch("office", "direct", SwitchCause.WIFI, "Branch\x1b[2J"),
            "Because you joined “Branch[2J”. To go back: trayproxy profiles use 'Connect directly'",
        ),
        (
            NetworkSwitch("office", "lab", SwitchCause.ANSWERS, "proxy.example"),
            "Because proxy.example answers here. To go back: trayproxy profiles use Lab",
        ),
        (
            NetworkSwitch("direct", "gone", SwitchCause.ELSEWHERE, "Office"),
            "Because “Office” is not for this network.",
        ),
    ],
)
def test_a_switch_because_of_the_network_is_explained(
    cli: Cli, service: FakeServiceHandler, switch: NetworkSwitch, text: str
) -> None:
    service.status = replace(service.status, profiles=(OFFICE, LAB), network_switch=switch)
    assert f"  Network:        {text}\n" in cli("status")[1]
