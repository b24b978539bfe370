"""The service's own requests, for ``trayproxy test`` and ``login``, with each scheme."""

import pytest

from tests.end2end.scenario import StartService
from tests.support.counterparts import Counterpart
from tests.support.front_end import FrontEnd
from tests.support.keyring_session import KeyringSession
from tests.support.origin import Origin
from tests.support.service import ServiceProcess
from trayproxy.control.messages import (
    CheckProfile,
    CheckResult,
    Done,
    Failed,
    SaveLogin,
    SaveProfile,
    StepState,
    UseProfile,
)
from trayproxy.profiles.profile import Profile

NAMES = ("squid-digest", "squid-ntlm", "squid-kerberos", "sha-256", "socks5", "tinyproxy")


@pytest.fixture
def running(run: StartService, keyring: KeyringSession, proxy: Counterpart) -> ServiceProcess:
    """A service that finds the directory, in the session of the keyring."""
    return run(environment={**keyring.environment, **proxy.environment})


everywhere = pytest.mark.parametrize("proxy", NAMES, indirect=True)


@everywhere
def test_a_check_of_a_profile_signs_in_with_a_typed_login(
    proxy: Counterpart, running: ServiceProcess, origin: Origin
) -> None:
    profile = Profile("office", "Office", proxy.upstream, user=proxy.right.user)
    # The user answers the prompt while `trayproxy test` runs.
    with (
        FrontEnd(running.paths, [proxy.right]) as prompted,
        FrontEnd(running.paths, can_prompt=False) as front_end,
    ):
        prompted.request_done(SaveProfile(profile))
        reply = front_end.request(CheckProfile(profile, origin.url("/hello")))
        assert isinstance(reply, CheckResult)
        assert not [step for step in reply.steps if step.state is StepState.FAILED]
        steps = {step.name: step for step in reply.steps}
        assert proxy.right.user in steps["sign-in"].detail
        assert steps["fetch"].detail.startswith("200")
        assert len(prompted.prompts) == 1
    assert proxy.failed_logons() == 0


# The SHA-256 proxy of the tests does not reach the site on which the service verifies a login.
@pytest.mark.parametrize("proxy", [name for name in NAMES if name != "sha-256"], indirect=True)
def test_a_right_login_is_saved_and_a_wrong_login_costs_one_log_on(
    proxy: Counterpart, running: ServiceProcess, keyring: KeyringSession
) -> None:
    profile = Profile("office", "Office", proxy.upstream, user=proxy.right.user)
    with FrontEnd(running.paths) as front_end:
        front_end.request_done(SaveProfile(profile))
        front_end.request_done(UseProfile("office"))
        assert front_end.request(SaveLogin("office", proxy.right, is_typed=False)) == Done()
        assert proxy.failed_logons() == 0
        for _ in range(2):
            reply = front_end.request(SaveLogin("office", proxy.wrong, is_typed=False))
            assert isinstance(reply, Failed)
            assert (reply.problem.id, reply.exit_code) == ("TP-302", 4)
        assert proxy.failed_logons() == 1
        assert [entry.secret for entry in keyring.entries()] == [proxy.right.password]
        assert front_end.prompts == []
