"""A program meets a 407, a person answers once, and everything goes through."""

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.end2end.stage import Attach, Run, Use
from tests.support.clients import Clients
from tests.support.connects import Connects
from tests.support.keyring_session import KeyringSession
from tests.support.memory import MIB, memory_of
from tests.support.origin import Origin
from tests.support.processes import Job
from tests.support.secrets import Canary
from tests.support.service import Service
from tests.support.squid import Squid
from tests.support.tls import Authority, Certificate
from trayproxy.auth.login import Login
from trayproxy.control.messages import Ending, Quiet, SignInState, Transport, Why


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


@pytest.fixture
def service(run: Run, keyring: KeyringSession) -> Service:
    return run(session=keyring)


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_waits_for_one_sign_in_and_gets_its_answer(
    service: Service,
    attach: Attach,
    use: Use,
    proxy: Squid,
    canary: Canary,
    site: Site,
    name: str,
) -> None:
    start, expected = PROGRAMS[name]
    face = attach(service, [canary.login])
    use(face, proxy)
    got = start(site, service.url).result()
    assert expected in got.out, got
    assert len(face.questions) == 1
    assert proxy.failed_logons() == 0


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_next_program_is_not_kept_waiting(
    service: Service,
    attach: Attach,
    use: Use,
    proxy: Squid,
    canary: Canary,
    site: Site,
    name: str,
) -> None:
    start, expected = PROGRAMS[name]
    face = attach(service, [canary.login])
    use(face, proxy)
    PROGRAMS["curl"][0](site, service.url).result()
    before = len(proxy.accesses())
    got = start(site, service.url).result()
    assert expected in got.out, got
    assert len(face.questions) == 1
    assert 407 not in [access.status for access in proxy.accesses()[before:]]


def test_git_clones_and_pushes_megabytes_with_the_407_first(
    service: Service, attach: Attach, use: Use, proxy: Squid, canary: Canary, site: Site
) -> None:
    use(attach(service, [canary.login]), proxy)
    work = str(site.clients.home.path("work") / "demo")
    url = site.plain.url("/git/demo.git")
    for arguments in (
        ("clone", url, work),
        ("-C", work, "commit", "--allow-empty", "-m", "another"),
        ("-C", work, "push", "origin", "HEAD:refs/heads/pushed"),
    ):
        got = site.clients.git(service.url, *arguments).result()
        assert got.code == 0, got


def test_the_question_tells_who_asks_and_who_waits(
    service: Service, attach: Attach, use: Use, proxy: Squid, site: Site
) -> None:
    face = attach(service)
    profile = use(face, proxy)
    job = PROGRAMS["curl"][0](site, service.url)
    # Who waits takes a moment to find out, and does not hold the question back.
    question = face.wait_for_question(lambda q: any(program.name for program in q.programs))
    assert (question.profile_id, question.profile) == (profile.id, "Office")
    assert (question.upstream, question.realm) == (proxy.url, "Corporate Internet")
    assert (question.method, question.transport) == ("Basic", Transport.READABLE)
    assert (question.user, question.why) == ("alice", Why.NEEDED)
    (program,) = question.programs
    assert (program.name, program.pid) == ("curl", job.process.pid)
    assert program.target == site.plain.authority


def test_a_rejected_password_is_told_and_asked_again(
    service: Service, attach: Attach, use: Use, proxy: Squid, canary: Canary, site: Site
) -> None:
    face = attach(service, [Login(canary.user, "wrong")])
    use(face, proxy)
    job = PROGRAMS["curl"][0](site, service.url)
    again = face.wait_for_question(lambda question: question.rejections == 1)
    assert again.why is Why.TYPED_REJECTED
    face.answer(again, canary.login)
    assert job.result().out == "hello"
    assert face.wait_for_ending(again) is Ending.ACCEPTED
    assert proxy.failed_logons() == 1


def test_fifty_tunnels_and_a_wrong_password_cost_one_failed_log_on_and_one_question(
    service: Service, attach: Attach, use: Use, proxy: Squid, canary: Canary, origin: Origin
) -> None:
    face = attach(service)
    use(face, proxy)
    with Connects(service.address, origin.authority, 50) as connects:
        first = face.wait_for_question(lambda question: question.waiting == 50)
        face.answer(first, Login(canary.user, "wrong"))
        again = face.wait_for_question(lambda q: q.rejections == 1 and not q.checking)
        assert proxy.failed_logons() == 1
        assert connects.waiting == 50
        face.answer(again, canary.login)
        assert connects.statuses() == [200] * 50
    assert [question.number for question in face.questions] == [first.number]
    assert proxy.failed_logons() == 1


def test_five_hundred_that_wait_are_one_question_and_little_memory(
    run: Run, attach: Attach, use: Use, proxy: Squid, origin: Origin
) -> None:
    """F26 and F27: all of them are told at once when the person says no."""
    service = run()
    face = attach(service)
    use(face, proxy)
    before = memory_of(service.pid).proportional
    with Connects(service.address, origin.authority, 500) as connects:
        question = face.wait_for_question(lambda asked: asked.waiting == 500)
        assert memory_of(service.pid).proportional - before < 50 * MIB
        face.decline(question, Quiet.A_MINUTE)
        assert connects.statuses() == [503] * 500
    assert len(face.questions) == 1
    assert proxy.failed_logons() == 0


def test_a_declined_question_ends_the_wait_with_503(
    service: Service, attach: Attach, use: Use, proxy: Squid, site: Site
) -> None:
    face = attach(service, [Quiet.A_MINUTE])
    use(face, proxy)
    told = ("-x", service.url, "-o", "/dev/null", "-w", "%{http_code} %{http_connect}")
    plain = site.clients.curl(*told, site.plain.url("/hello")).result()
    tunnel = site.clients.curl(*told, site.secure.url("/hello")).result()
    assert plain.out == "503 000"
    assert tunnel.out == "000 503"
    # The second one came in the quiet time, and was answered without a question.
    assert [face.wait_for_ending(question) for question in face.questions] == [Ending.DECLINED]
    assert face.wait_for_status(lambda status: status.sign_in is SignInState.SNOOZED)


def test_an_open_question_survives_the_face_that_showed_it(
    service: Service, attach: Attach, use: Use, proxy: Squid, canary: Canary, site: Site
) -> None:
    killed = attach(service)
    other = attach(service)
    use(killed, proxy)
    job = PROGRAMS["curl"][0](site, service.url)
    shown = killed.wait_for_question()
    killed.close()
    again = attach(service).wait_for_question()
    assert again.number == shown.number
    other.answer(again, canary.login)
    assert job.result().out == "hello"


def test_an_untouched_question_closes_when_nobody_waits_any_more(
    service: Service, attach: Attach, use: Use, proxy: Squid, site: Site
) -> None:
    face = attach(service)
    use(face, proxy)
    job = PROGRAMS["curl"][0](site, service.url)
    question = face.wait_for_question()
    job.process.end()
    assert face.wait_for_ending(question) is Ending.ABANDONED


def test_credentials_of_the_program_itself_go_no_further(
    service: Service, attach: Attach, use: Use, proxy: Squid, canary: Canary, site: Site
) -> None:
    use(attach(service, [canary.login]), proxy)
    url = site.plain.url("/hello")
    got = site.clients.curl("-x", service.url, "-U", "mallory:guess", url).result()
    assert got.out == "hello"
    assert {access.user for access in proxy.accesses()} == {"", canary.user}


def test_the_origin_sees_no_credentials(
    service: Service, attach: Attach, use: Use, proxy: Squid, canary: Canary, site: Site
) -> None:
    use(attach(service, [canary.login]), proxy)
    for name in ("curl", "curl, tunnel"):
        PROGRAMS[name][0](site, service.url).result()
    heads = (*site.plain.heard, *site.secure.heard)
    assert len(heads) == 2
    assert not [head for head in heads if head.values("proxy-authorization")]
