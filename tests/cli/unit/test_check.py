"""Tests for trayproxy.cli.check."""

import pytest

from tests.cli.check_results import WELL, failed
from trayproxy.cli.check import exit_code
from trayproxy.control.messages import CheckResult
from trayproxy.domain.problem import ExitCode


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
