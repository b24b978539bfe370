"""``trayproxy pac eval``: the answer of a PAC script."""

import json

import pytest

from tests.cli.conftest import Cli
from tests.cli.fake_service import FakeServiceHandler
from trayproxy.control.messages import EvaluatePac, PacAnswer, PacName
from trayproxy.domain.problem import Problem

ANSWER = PacAnswer(
    "http://pac.example/x.pac",
    ("http://a.example:8080", "direct"),
    "direct",
    None,
    is_stored=True,
    url="https://x.example/",
    host="x.example",
    text="PROXY a.example:8080; SOCKS4 b:1; DIRECT",
    skipped=("SOCKS4 b:1: SOCKS4 is too old",),
    took=12.4,
    names=(PacName("x.example", ("192.0.2.1", "2001:db8::1")), PacName("y.example", ())),
    alerts=("hello \x1b[31m",),
)


def test_the_answer_is_printed_with_all_facts(cli: Cli, service: FakeServiceHandler) -> None:
    service.answer = ANSWER
    code, out, err = cli("pac", "eval", "https://x.example/")
    assert (code, err) == (0, "")
    assert service.requests == [EvaluatePac("https://x.example/")]
    assert out.splitlines() == [
        "Script:   http://pac.example/x.pac (the last good copy)",
        "Address:  https://x.example/",
        "Resolved: x.example: 192.0.2.1, 2001:db8::1",
        "Resolved: y.example: not found",
        "Alert:    hello [31m",
        "Answer:   PROXY a.example:8080; SOCKS4 b:1; DIRECT",
        "Skipped:  SOCKS4 b:1: SOCKS4 is too old",
        "Proxies:  http://a.example:8080, otherwise direct",
        "Used now: direct",
        "Took:     12 ms",
    ]


def test_json_is_for_programs(cli: Cli, service: FakeServiceHandler) -> None:
    service.answer = ANSWER
    code, out, _ = cli("pac", "eval", "x:443", "--profile", "Lab", "--reload", "--json")
    assert code == 0
    assert service.requests == [EvaluatePac("x:443", "lab", reload=True)]
    found = json.loads(out)
    assert (found["schema"], found["used"]) == (1, "direct")
    assert found["names"][1] == {"name": "y.example", "addresses": []}


def test_a_script_that_does_not_work_is_an_error(cli: Cli, service: FakeServiceHandler) -> None:
    problem = Problem("TP-502", "The automatic configuration does not work", "Line 3: no x.")
    service.answer = PacAnswer("/x.pac", problem=problem)
    code, out, _ = cli("pac", "eval", "https://x.example/")
    assert code == 5
    assert "Line 3: no x." in out
    assert "Proxies" not in out


@pytest.mark.parametrize("given", [("pac",), ("pac", "eval"), ("pac", "run")])
def test_a_missing_verb_or_url_is_a_usage_error(cli: Cli, given: tuple[str, ...]) -> None:
    assert cli(*given)[0] == 2
