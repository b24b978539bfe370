"""Tests for the output of trayproxy test, with a service of the tests."""

import json

from msgspec.structs import replace

from tests.cli.check_results import WELL, failed
from tests.cli.conftest import Cli
from tests.cli.fake_prompt_service import PROMPT
from tests.cli.fake_service import LAB, OFFICE, FakeServiceHandler
from trayproxy.control.messages import CheckProfile, CheckResult, Failed, Step, StepState
from trayproxy.domain.problem import Problem


def test_each_step_is_printed_with_its_duration(cli: Cli, service: FakeServiceHandler) -> None:
    service.result = WELL
    assert cli("test") == (
        0,
        "Test of “Office”\n"
        "  ✔ Find proxy.example         10.0.0.41  (12 ms)\n"
        "  ✔ Connect to port 8080       port 8080  (9 ms)\n"
        "  – Encryption                 none (http proxy)\n"
        "  ✔ Proxy asks for sign-in     Basic, “Corp[2J Internet”  (1 ms)\n"
        "  ✔ Sign-in accepted           CORP\\jdoe  (31 ms)\n"
        "  ✔ Fetch http://example.com/  200 OK  (88 ms)\n"
        "All good.\n",
        "",
    )
    assert CheckProfile(OFFICE) in service.requests


def test_another_profile_and_another_url_can_be_tested(
    cli: Cli, service: FakeServiceHandler
) -> None:
    service.result = WELL
    assert cli("test", "lab", "--url", "http://intranet.example/")[0] == 0
    assert CheckProfile(LAB, "http://intranet.example/") in service.requests


def test_a_failed_step_is_printed_with_its_problem(cli: Cli, service: FakeServiceHandler) -> None:
    service.result = failed("TP-203")
    code, out, err = cli("test")
    assert (code, err) == (5, "")
    assert "  ✖ Connect to port 8080  (15000 ms)\n" in out
    assert "  – Encryption            not tried\n" in out
    assert out.endswith("proxy.example does not answer. No answer within 15 seconds. (TP-203)\n")


def test_json_has_a_schema_and_the_exit_code(cli: Cli, service: FakeServiceHandler) -> None:
    service.result = failed("TP-302")
    code, out, err = cli("test", "--json")
    told = json.loads(out)
    assert (code, err, out.count("\n")) == (4, "", 1)
    assert (told["schema"], told["profile"], told["works"]) == (1, "office", False)
    assert told["exit_code"] == 4
    find = {"name": "find", "state": "ok", "detail": "10.0.0.41", "took": 12.3, "problem": None}
    assert told["steps"][0] == find
    assert told["steps"][1]["problem"]["id"] == "TP-302"


def test_json_is_printable_ascii_for_any_text_of_a_proxy(
    cli: Cli, service: FakeServiceHandler
) -> None:
    detail = '\x1b[2J \x7f \x9b2J \u202egnp.exe \u2028 Bücher 👩 "\\'
    service.result = CheckResult((Step("challenge", StepState.OK, detail, 1.0),))
    _, out, _ = cli("test", "--json")
    assert out.isascii()
    assert out.removesuffix("\n").isprintable()
    assert json.loads(out)["steps"][0]["detail"] == detail


def test_a_test_reports_a_prompt_once(cli: Cli, service: FakeServiceHandler) -> None:
    service.result = WELL
    service.prompt = PROMPT
    assert cli("test")[2] == (
        "TrayProxy asks for the sign-in in its window; the test continues after the sign-in.\n"
    )
    # A prompt of another profile is not reported.
    service.prompt = replace(service.prompt, profile_id="lab")
    assert cli("test")[2] == ""


def test_a_failed_start_of_a_test_is_reported(cli: Cli, service: FakeServiceHandler) -> None:
    service.failure = Failed(Problem("TP-807", "This address cannot be fetched", "ftp://x."))
    assert cli("test", "--url", "ftp://x")[0] == 1
    service.failure = None
    code, _, err = cli("test", "x")
    assert (code, err) == (1, "There is no profile “x”. There are: Office, Lab.\n")
