"""Programs receive a 407, the user answers a single prompt, and all requests succeed."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.end2end.scenario import HELLO, Scenario, UserSession
from tests.support.concurrent_connects import ConcurrentConnects
from tests.support.dumpable_service import DUMPABLE
from tests.support.memory import MIB, memory_of
from tests.support.origin import Origin
from tests.support.processes import Job
from tests.support.searchable_secret import SearchableSecret
from tests.support.tls import Certificate, CertificateAuthority
from trayproxy.auth.login import Login
from trayproxy.control.messages import SaveProfile, Status, UpstreamState
from trayproxy.domain.signin import Ending, PromptReason, SignInState, Snooze, Transport


@dataclass(frozen=True, slots=True)
class SecureSite:
    """An origin that programs request through tunnels.

    Attributes:
        trust: The file with the authority of its certificate.
        pin: The hash of its public key.
    """

    origin: Origin
    trust: Path
    pin: str

    def url(self, path: str) -> str:
        """Return the URL of a path."""
        return self.origin.url(path)


@pytest.fixture
def site(
    secure_origin: Origin, authority: CertificateAuthority, certificate: Certificate
) -> SecureSite:
    return SecureSite(secure_origin, authority.pem, certificate.pin)


Program = Callable[[UserSession, SecureSite], Job]
"""Starts a program that fetches something through the service."""

REFS, PAGE = "refs/heads/main", '<p id="said">hello browser</p>'

PROGRAMS: dict[str, tuple[Program, str]] = {
    "curl": (lambda user, site: user.curl(user.origin.url("/hello")), "hello"),
    "curl, tunnel": (
        lambda user, site: user.curl("--cacert", str(site.trust), site.url("/hello")),
        "hello",
    ),
    "curl, SOCKS5": (
        lambda user, site: user.clients.curl(
            "--socks5-hostname",
            user.service.address,
            "--cacert",
            str(site.trust),
            site.url("/hello"),
        ),
        "hello",
    ),
    "requests": (
        lambda user, site: user.clients.requests(user.origin.url("/hello"), user.service.url),
        "200\nhello",
    ),
    "requests, tunnel": (
        lambda user, site: user.clients.requests(
            site.url("/hello"), user.service.url, trust=site.trust
        ),
        "200\nhello",
    ),
    "git": (lambda user, site: user.git("ls-remote", user.origin.url("/git/demo.git")), REFS),
    "git, tunnel": (
        lambda user, site: user.git("ls-remote", site.url("/git/demo.git"), trust=site.trust),
        REFS,
    ),
    "git, SOCKS5": (
        lambda user, site: user.clients.git(
            f"socks5h://{user.service.address}",
            "ls-remote",
            site.url("/git/demo.git"),
            trust=site.trust,
        ),
        REFS,
    ),
    "chromium": (
        lambda user, site: user.clients.chromium(user.origin.url("/page"), user.service.url),
        PAGE,
    ),
    "chromium, tunnel": (
        lambda user, site: user.clients.chromium(site.url("/page"), user.service.url, pin=site.pin),
        PAGE,
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_waits_for_one_sign_in_and_gets_its_response(
    scenario: Scenario, site: SecureSite, name: str
) -> None:
    start, expected = PROGRAMS[name]
    user = scenario.start(scenario.login)
    got = start(user, site).result()
    assert expected in got.out, got
    assert len(user.front_end.prompts) == 1
    assert scenario.proxy.failed_logons() == 0


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_next_program_needs_no_prompt(scenario: Scenario, site: SecureSite, name: str) -> None:
    start, expected = PROGRAMS[name]
    user = scenario.start(scenario.login)
    user.fetch()
    before = len(scenario.proxy.accesses())
    got = start(user, site).result()
    assert expected in got.out, got
    assert len(user.front_end.prompts) == 1
    assert 407 not in [access.status for access in scenario.proxy.accesses()[before:]]


def test_git_clones_and_pushes_megabytes_with_the_407_first(scenario: Scenario) -> None:
    user = scenario.start(scenario.login)
    work = str(scenario.clients.home.path("work") / "demo")
    url = scenario.origin.url("/git/demo.git")
    for arguments in (
        ("clone", url, work),
        ("-C", work, "commit", "--allow-empty", "-m", "another"),
        ("-C", work, "push", "origin", "HEAD:refs/heads/pushed"),
    ):
        got = user.git(*arguments).result()
        assert got.code == 0, got


def test_a_prompt_names_the_proxy_and_the_waiting_program(scenario: Scenario) -> None:
    user = scenario.start()
    job = user.visit()
    # Who waits takes a moment to find out, and does not hold the question back.
    question = user.front_end.wait_for_prompt(lambda q: any(program.name for program in q.programs))
    assert (question.profile_id, question.profile) == (scenario.profile.id, "Office")
    assert (question.upstream, question.realm) == (scenario.proxy.url, "Corporate Internet")
    assert (question.method, question.transport) == ("Basic", Transport.READABLE)
    assert (question.user, question.reason) == ("alice", PromptReason.NEEDED)
    (program,) = question.programs
    assert (program.name, program.pid) == ("curl", job.process.pid)
    assert program.target == scenario.origin.authority


def test_a_rejected_password_is_reported_and_prompted_for_again(scenario: Scenario) -> None:
    user = scenario.start(scenario.wrong)
    waiting = user.visit()
    again = user.front_end.wait_for_prompt(lambda question: question.rejections == 1)
    assert again.reason is PromptReason.TYPED_REJECTED
    user.front_end.answer(again, scenario.login)
    assert waiting.result().out == HELLO
    assert user.front_end.wait_for_ending(again) is Ending.ACCEPTED
    assert scenario.proxy.failed_logons() == 1


def test_five_hundred_waiting_tunnels_need_one_prompt_and_little_memory(scenario: Scenario) -> None:
    """F26 and F27: all tunnels are refused at once when the user declines."""
    user = scenario.begin(scenario.run(program=DUMPABLE))
    before = memory_of(user.service.pid).proportional
    with ConcurrentConnects(user.service.address, scenario.origin.authority, 500) as connects:
        question = user.front_end.wait_for_prompt(lambda asked: asked.waiting == 500)
        assert memory_of(user.service.pid).proportional - before < 50 * MIB
        user.front_end.decline(question, Snooze.A_MINUTE)
        assert connects.statuses() == [503] * 500
    assert len(user.front_end.prompts) == 1
    assert scenario.proxy.failed_logons() == 0


def test_a_declined_prompt_ends_the_wait_with_503(
    scenario: Scenario, secure_origin: Origin
) -> None:
    user = scenario.start(Snooze.A_MINUTE)
    told = ("-o", "/dev/null", "-w", "%{http_code} %{http_connect}")
    plain = user.curl(*told, scenario.origin.url("/hello")).result()
    tunnel = user.curl(*told, secure_origin.url("/hello")).result()
    assert plain.out == "503 000"
    assert tunnel.out == "000 503"
    # The second request arrived during the snooze: it was refused without a prompt.
    endings = [user.front_end.wait_for_ending(question) for question in user.front_end.prompts]
    assert endings == [Ending.DECLINED]
    assert user.front_end.wait_for_status(lambda status: status.sign_in is SignInState.SNOOZED)


def test_an_open_prompt_survives_its_front_end(scenario: Scenario) -> None:
    user = scenario.start()
    other = scenario.attach(user.service)
    waiting = user.visit()
    shown = user.front_end.wait_for_prompt()
    user.front_end.close()
    again = scenario.attach(user.service).wait_for_prompt()
    assert again.number == shown.number
    other.answer(again, scenario.login)
    assert waiting.result().out == HELLO


def test_an_untouched_prompt_closes_with_the_last_waiting_program(scenario: Scenario) -> None:
    user = scenario.start()
    impatient = user.visit()
    question = user.front_end.wait_for_prompt()
    impatient.process.end()
    assert user.front_end.wait_for_ending(question) is Ending.ABANDONED


def test_credentials_of_a_program_are_not_forwarded(scenario: Scenario) -> None:
    user = scenario.start(scenario.login)
    got = user.curl("-U", "mallory:guess", scenario.origin.url("/hello")).result()
    assert got.out == "hello"
    assert {access.user for access in scenario.proxy.accesses()} == {"", scenario.login.user}


def test_the_origin_receives_no_credentials(scenario: Scenario, site: SecureSite) -> None:
    user = scenario.start(scenario.login)
    for name in ("curl", "curl, tunnel"):
        PROGRAMS[name][0](user, site).result()
    heads = (*user.origin.received, *site.origin.received)
    assert len(heads) == 2
    assert not [head for head in heads if head.values("proxy-authorization")]


def test_the_user_name_is_kept_in_the_profile_after_a_success(scenario: Scenario) -> None:
    user = scenario.attach_user(scenario.run())
    user.front_end.request_done(SaveProfile(replace(scenario.profile, user="")))
    assert user.sign_in(scenario.login) == HELLO

    def keeps_user(status: Status) -> bool:
        return status.profile is not None and status.profile.user == scenario.login.user

    known = user.front_end.wait_for_status(keeps_user)
    # The proxy has answered, and that is not forgotten over it.
    assert known.upstream is UpstreamState.OK
    user.end()
    # Without a keyring, the next run asks for the password alone.
    again = scenario.attach_user(scenario.run())
    again.visit()
    assert again.front_end.wait_for_prompt().user == scenario.login.user


def test_an_accepted_user_name_replaces_the_user_name_of_the_profile(scenario: Scenario) -> None:
    """The keyring, the settings and the next run know the new user alone."""
    scenario.sign_in_earlier()
    scenario.proxy.set_password(
        scenario.login.user, SearchableSecret().password
    )  # The saved password is wrong now.
    other = SearchableSecret("asmith")
    scenario.proxy.set_password(other.user, other.password)
    user = scenario.restart(other.login)
    assert user.fetch() == HELLO

    def is_renamed(status: Status) -> bool:
        return status.profile is not None and status.profile.user == other.user

    known = user.front_end.wait_for_status(is_renamed)
    assert known.upstream is UpstreamState.OK
    assert user.fetch() == HELLO
    assert len(user.front_end.prompts) == 1
    kept = [(other.user, other.password)]
    scenario.keyring.wait_until(
        lambda entries: [(one.attributes["username"], one.secret) for one in entries] == kept
    )
    user.end()
    again = scenario.restart()
    assert again.fetch() == HELLO
    assert again.front_end.prompts == []


def test_a_rejected_login_is_not_saved_in_the_keyring_or_the_profile(scenario: Scenario) -> None:
    user = scenario.start(Login("asmith", "wrong"))
    user.visit()
    user.front_end.wait_for_prompt(lambda question: question.rejections == 1)
    assert scenario.keyring.entries() == []
    profile = user.service.status().profile
    assert profile is not None
    assert profile.user == scenario.login.user
