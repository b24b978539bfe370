"""Tests for trayproxy.cli.check."""

import pytest

from trayproxy.cli.check import exit_code
from trayproxy.control.messages import CheckResult, Step, StepState
from trayproxy.domain.problem import ExitCode, Problem

WELL = CheckResult(
    (
        Step("find", StepState.OK, "10.0.0.41", 12.3),
        Step("connect", StepState.OK, "port 8080", 9.0),
        Step("encryption", StepState.NOT_NEEDED, "none (http proxy)"),
        Step("challenge", StepState.OK, "Basic, “Corp\x1b[2J Internet”", 1.0),
        Step("sign-in", StepState.OK, "CORP\\jdoe", 31.0),
        Step("fetch", StepState.OK, "200 OK", 88.0),
    )
)


def failed(code: str, *, fallback: bool = False) -> CheckResult:
    problem = Problem(code, "proxy.example does not answer", "No answer within 15 seconds.")
    if fallback:
        return CheckResult((*WELL.steps, Step("fallback", StepState.FAILED, problem=problem)))
    return CheckResult(
        (
            Step("find", StepState.OK, "10.0.0.41", 12.3),
            Step("connect", StepState.FAILED, took=15000.0, problem=problem),
            Step("encryption", StepState.NOT_TRIED),
        )
    )


@pytest.mark.parametrize(
    ("result", "code"),
    [
        (WELL, ExitCode.DONE),
        (failed("TP-201"), ExitCode.UPSTREAM),
        (failed("TP-301"), ExitCode.SIGN_IN),
        (failed("TP-403"), ExitCode.KEYRING),
        (failed("TP-702"), ExitCode.FAILED),
        (failed(""), ExitCode.UPSTREAM),
        (failed("TP-202", fallback=True), ExitCode.UPSTREAM),
    ],
)
def test_the_exit_code_depends_on_the_first_failed_step(
    result: CheckResult, code: ExitCode
) -> None:
    assert exit_code(result) is code
