"""A program meets a 407, a person answers once, and everything goes through."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from tests.end2end.stage import HELLO, Office
from tests.support.clients import Clients
from tests.support.connects import Connects
from tests.support.memory import MIB, memory_of
from tests.support.origin import Origin
from tests.support.processes import Job
from tests.support.readable import READABLE
from tests.support.secrets import Canary
from tests.support.tls import Authority, Certificate
from trayproxy.auth.login import Login
from trayproxy.control.messages import SaveProfile, Status, UpstreamState
from trayproxy.domain.signin import Ending, PromptReason, SignInState, Snooze, Transport


@dataclass(frozen=True, slots=True)
class Site:
    """What programs go to, and what they need to trust it.

    Attributes:
        clients: The programs.
        plain: An origin that is reached by plain requests.
        secure: An origin that is reached through tunnels.
        authority: Who signed its certificate.
        certificate: Its certificate.
    """

    clients: Clients
    plain: Origin
    secure: Origin
    authority: Authority
    certificate: Certificate


@pytest.fixture
def site(
    clients: Clients,
    origin: Origin,
    secure_origin: Origin,
    authority: Authority,
    certificate: Certificate,
) -> Site:
    return Site(clients, origin, secure_origin, authority, certificate)


Program = Callable[[Site, str], Job]
"""Starts a program that fetches something through a proxy."""

PROGRAMS: dict[str, tuple[Program, str]] = {
    "curl": (
        lambda site, proxy: site.clients.curl("-x", proxy, site.plain.url("/hello")),
        "hello",
    ),
    "curl, tunnel": (
        lambda site, proxy: site.clients.curl(
            "-x", proxy, "--cacert", str(site.authority.pem), site.secure.url("/hello")
        ),
        "hello",
    ),
    "requests": (
        lambda site, proxy: site.clients.requests(site.plain.url("/hello"), proxy),
        "200\nhello",
    ),
    "requests, tunnel": (
        lambda site, proxy: site.clients.requests(
            site.secure.url("/hello"), proxy, trust=site.authority.pem
        ),
        "200\nhello",
    ),
    "git": (
        lambda site, proxy: site.clients.git(proxy, "ls-remote", site.plain.url("/git/demo.git")),
        "refs/heads/main",
    ),
    "git, tunnel": (
        lambda site, proxy: site.clients.git(
            proxy, "ls-remote", site.secure.url("/git/demo.git"), trust=site.authority.pem
        ),
        "refs/heads/main",
    ),
    "chromium": (
        lambda site, proxy: site.clients.chromium(site.plain.url("/page"), proxy),
        '<p id="said">hello browser</p>',
    ),
    "chromium, tunnel": (
        lambda site, proxy: site.clients.chromium(
            site.secure.url("/page"), proxy, pin=site.certificate.pin
        ),
        '<p id="said">hello browser</p>',
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_waits_for_one_sign_in_and_gets_its_answer(
    office: Office, site: Site, name: str
) -> None:
    start, expected = PROGRAMS[name]
    here = office.start(office.login)
    got = start(site, here.service.url).result()
    assert expected in got.out, got
    assert len(here.front_end.prompts) == 1
    assert office.proxy.failed_logons() == 0


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_next_program_is_not_kept_waiting(office: Office, site: Site, name: str) -> None:
    start, expected = PROGRAMS[name]
    here = office.start(office.login)
    here.fetch()
    before = len(office.proxy.accesses())
    got = start(site, here.service.url).result()
    assert expected in got.out, got
    assert len(here.front_end.prompts) == 1
    assert 407 not in [access.status for access in office.proxy.accesses()[before:]]


def test_git_clones_and_pushes_megabytes_with_the_407_first(office: Office) -> None:
    here = office.start(office.login)
    work = str(office.clients.home.path("work") / "demo")
    url = office.origin.url("/git/demo.git")
    for arguments in (
        ("clone", url, work),
        ("-C", work, "commit", "--allow-empty", "-m", "another"),
        ("-C", work, "push", "origin", "HEAD:refs/heads/pushed"),
    ):
        got = office.clients.git(here.service.url, *arguments).result()
        assert got.code == 0, got


def test_the_question_tells_who_asks_and_who_waits(office: Office) -> None:
    here = office.start()
    job = here.visit()
    # Who waits takes a moment to find out, and does not hold the question back.
    question = here.front_end.wait_for_prompt(lambda q: any(program.name for program in q.programs))
    assert (question.profile_id, question.profile) == (office.profile.id, "Office")
    assert (question.upstream, question.realm) == (office.proxy.url, "Corporate Internet")
    assert (question.method, question.transport) == ("Basic", Transport.READABLE)
    assert (question.user, question.reason) == ("alice", PromptReason.NEEDED)
    (program,) = question.programs
    assert (program.name, program.pid) == ("curl", job.process.pid)
    assert program.target == office.origin.authority


def test_a_rejected_password_is_told_and_asked_again(office: Office) -> None:
    here = office.start(office.wrong)
    waiting = here.visit()
    again = here.front_end.wait_for_prompt(lambda question: question.rejections == 1)
    assert again.reason is PromptReason.TYPED_REJECTED
    here.front_end.answer(again, office.login)
    assert waiting.result().out == HELLO
    assert here.front_end.wait_for_ending(again) is Ending.ACCEPTED
    assert office.proxy.failed_logons() == 1


def test_fifty_tunnels_and_a_wrong_password_cost_one_failed_log_on_and_one_question(
    office: Office,
) -> None:
    here = office.start()
    with Connects(here.service.address, office.origin.authority, 50) as connects:
        first = here.front_end.wait_for_prompt(lambda question: question.waiting == 50)
        here.front_end.answer(first, office.wrong)
        again = here.front_end.wait_for_prompt(lambda q: q.rejections == 1 and not q.checking)
        assert office.proxy.failed_logons() == 1
        assert connects.waiting == 50
        here.front_end.answer(again, office.login)
        assert connects.statuses() == [200] * 50
    assert [question.number for question in here.front_end.prompts] == [first.number]
    assert office.proxy.failed_logons() == 1


def test_five_hundred_that_wait_are_one_question_and_little_memory(office: Office) -> None:
    """F26 and F27: all of them are told at once when the person says no."""
    here = office.begin(office.run(program=READABLE))
    before = memory_of(here.service.pid).proportional
    with Connects(here.service.address, office.origin.authority, 500) as connects:
        question = here.front_end.wait_for_prompt(lambda asked: asked.waiting == 500)
        assert memory_of(here.service.pid).proportional - before < 50 * MIB
        here.front_end.decline(question, Snooze.A_MINUTE)
        assert connects.statuses() == [503] * 500
    assert len(here.front_end.prompts) == 1
    assert office.proxy.failed_logons() == 0


def test_a_declined_question_ends_the_wait_with_503(office: Office, secure_origin: Origin) -> None:
    here = office.start(Snooze.A_MINUTE)
    told = ("-o", "/dev/null", "-w", "%{http_code} %{http_connect}")
    plain = here.curl(*told, office.origin.url("/hello")).result()
    tunnel = here.curl(*told, secure_origin.url("/hello")).result()
    assert plain.out == "503 000"
    assert tunnel.out == "000 503"
    # The second one came in the quiet time, and was answered without a question.
    endings = [here.front_end.wait_for_ending(question) for question in here.front_end.prompts]
    assert endings == [Ending.DECLINED]
    assert here.front_end.wait_for_status(lambda status: status.sign_in is SignInState.SNOOZED)


def test_an_open_question_survives_the_front_end_that_showed_it(office: Office) -> None:
    here = office.start()
    other = office.attach(here.service)
    waiting = here.visit()
    shown = here.front_end.wait_for_prompt()
    here.front_end.close()
    again = office.attach(here.service).wait_for_prompt()
    assert again.number == shown.number
    other.answer(again, office.login)
    assert waiting.result().out == HELLO


def test_an_untouched_question_closes_when_nobody_waits_any_more(office: Office) -> None:
    here = office.start()
    impatient = here.visit()
    question = here.front_end.wait_for_prompt()
    impatient.process.end()
    assert here.front_end.wait_for_ending(question) is Ending.ABANDONED


def test_credentials_of_the_program_itself_go_no_further(office: Office) -> None:
    here = office.start(office.login)
    got = here.curl("-U", "mallory:guess", office.origin.url("/hello")).result()
    assert got.out == "hello"
    assert {access.user for access in office.proxy.accesses()} == {"", office.login.user}


def test_the_origin_sees_no_credentials(office: Office, site: Site) -> None:
    here = office.start(office.login)
    for name in ("curl", "curl, tunnel"):
        PROGRAMS[name][0](site, here.service.url).result()
    heads = (*site.plain.heard, *site.secure.heard)
    assert len(heads) == 2
    assert not [head for head in heads if head.values("proxy-authorization")]


def test_the_user_name_is_kept_in_the_profile_after_a_success(office: Office) -> None:
    here = office.sit_down(office.run())
    here.front_end.request_done(SaveProfile(replace(office.profile, user="")))
    assert here.sign_in(office.login) == HELLO

    def keeps_user(status: Status) -> bool:
        return status.profile is not None and status.profile.user == office.login.user

    known = here.front_end.wait_for_status(keeps_user)
    # The proxy has answered, and that is not forgotten over it.
    assert known.upstream is UpstreamState.OK
    here.end()
    # Without a keyring, the next run asks for the password alone.
    again = office.sit_down(office.run())
    again.visit()
    assert again.front_end.wait_for_prompt().user == office.login.user


def test_another_user_name_replaces_that_of_the_profile_after_a_success(office: Office) -> None:
    """The keyring, the settings and the next run know the new user alone."""
    office.sign_in_before()
    office.proxy.set_password(office.login.user, Canary().password)  # The saved one is wrong now.
    other = Canary("asmith")
    office.proxy.set_password(other.user, other.password)
    here = office.resume(other.login)
    assert here.fetch() == HELLO

    def is_renamed(status: Status) -> bool:
        return status.profile is not None and status.profile.user == other.user

    known = here.front_end.wait_for_status(is_renamed)
    assert known.upstream is UpstreamState.OK
    assert here.fetch() == HELLO
    assert len(here.front_end.prompts) == 1
    kept = [(other.user, other.password)]
    office.keyring.wait_until(
        lambda entries: [(one.attributes["username"], one.secret) for one in entries] == kept
    )
    here.end()
    again = office.resume()
    assert again.fetch() == HELLO
    assert again.front_end.prompts == []


def test_a_user_name_that_is_rejected_does_not_replace_that_of_the_profile(office: Office) -> None:
    here = office.start(Login("asmith", "wrong"))
    here.visit()
    here.front_end.wait_for_prompt(lambda question: question.rejections == 1)
    profile = here.service.status().profile
    assert profile is not None
    assert profile.user == office.login.user
