"""``trayproxy route``: the proxy of an address, and the rule that decides."""

import json

import pytest

from tests.cli.conftest import Cli
from tests.cli.fake_service import FakeServiceHandler
from trayproxy.control.messages import FindRoute, RouteFound, RouteReason


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (
            RouteFound("x:443", RouteReason.PROFILE, ("http://a:1", "http://b:2"), "", "Office"),
            "x:443: http://a:1, otherwise http://b:2\n"
            "Decided by: no rule matches: the proxy of “Office”\n",
        ),
        (
            RouteFound("x:443", RouteReason.RULE, (), "x -> block", "Office"),
            "x:443: blocked\nDecided by: the rule “x -> block” of “Office”\n",
        ),
        (
            RouteFound("x:443", RouteReason.BYPASS, ("direct",), "*.x", "Office"),
            "x:443: direct\nDecided by: “*.x” in the list “Not used for” of “Office”\n",
        ),
        (
            RouteFound("x:443", RouteReason.DIRECTLY, ("direct",)),
            "x:443: direct\nDecided by: you chose to connect directly\n",
        ),
    ],
)
def test_the_proxy_and_the_reason_are_printed(
    cli: Cli, service: FakeServiceHandler, found: RouteFound, text: str
) -> None:
    service.route = found
    assert cli("route", "https://x/") == (0, text, "")
    assert service.requests == [FindRoute("https://x/")]


def test_profile_and_program_may_be_given(cli: Cli, service: FakeServiceHandler) -> None:
    service.route = RouteFound("x:443", RouteReason.RULE, ("direct",), "a{b} -> direct", "Lab")
    code, out, _ = cli("route", "x:443", "--profile", "Lab", "--program", "git", "--json")
    assert code == 0
    assert service.requests == [FindRoute("x:443", "lab", "git")]
    assert json.loads(out) == {
        "schema": 1,
        "target": "x:443",
        "reason": "rule",
        "proxies": ["direct"],
        "rule": "a{b} -> direct",
        "profile": "Lab",
    }


def test_without_a_service_there_is_no_answer(cli: Cli) -> None:
    code, out, err = cli("route", "https://x/")
    assert (code, out) == (3, "")
    assert "not running" in err
