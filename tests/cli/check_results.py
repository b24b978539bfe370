"""Results of the test of a profile, as the service sends them."""

from trayproxy.control.messages import CheckResult, Step, StepState
from trayproxy.domain.problem import Problem

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
    """Return the result of a test with this problem in its first failed step.

    Args:
        code: The code of the problem.
        fallback: True if another proxy of the profile has failed after all steps succeeded.
    """
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
