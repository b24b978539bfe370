"""Each kind of upstream with each scheme: a single prompt, and no unnecessary failed log-on."""

from collections.abc import Callable

import pytest

from tests.end2end.scenario import AttachFrontEnd
from tests.support.clients import Clients
from tests.support.concurrent_connects import ConcurrentConnects
from tests.support.counterparts import NAMES, Counterpart
from tests.support.front_end import FrontEnd
from tests.support.multi_scheme_squid import MessageKind
from tests.support.octets import digest, write
from tests.support.origin import Origin
from tests.support.processes import Job
from tests.support.service import ServiceProcess
from trayproxy.auth.login import Login
from trayproxy.control.messages import SaveProfile, UseProfile
from trayproxy.domain.signin import Ending, Prompt, PromptReason, Snooze
from trayproxy.profiles.profile import Profile

STATUS = ("-w", "\n%{http_code} %{http_connect}")


Ask = Callable[[Clients, ServiceProcess, Origin], Job]


def get(clients: Clients, service: ServiceProcess, origin: Origin) -> Job:
    return clients.curl(*STATUS, "-x", service.url, origin.url("/hello"))


def post(size: int) -> Ask:
    def ask(clients: Clients, service: ServiceProcess, origin: Origin) -> Job:
        body = write(clients.home.root / "body", size)
        # Without its own "Expect: 100-continue" it sends the body at once.
        data = ("--data-binary", f"@{body}", "-H", "Expect:")
        return clients.curl(*STATUS, "-x", service.url, *data, origin.url("/sha256"))

    return ask


def connect(clients: Clients, service: ServiceProcess, origin: Origin) -> Job:
    return clients.curl(*STATUS, "-x", service.url, "--proxytunnel", origin.url("/hello"))


SMALL, LARGE = 1_000, 5_000_000
REQUESTS: dict[str, tuple[Ask, str]] = {
    "GET": (get, "hello\n\n200 000"),
    "POST of 1 kB": (post(SMALL), f"{SMALL} {digest(SMALL)}\n\n200 000"),
    "POST of 5 MB": (post(LARGE), f"{LARGE} {digest(LARGE)}\n\n200 000"),
    "CONNECT": (connect, "hello\n\n200 200"),
}


def use_another(front_end: FrontEnd, proxy: Counterpart, name: str) -> Profile:
    """Make a profile of this name, which knows no login yet, and use it."""
    profile = Profile(name.lower().replace(" ", "-"), name, proxy.upstream, user=proxy.right.user)
    front_end.request_done(SaveProfile(profile))
    front_end.request_done(UseProfile(profile.id))
    return profile


def about(profile: Profile) -> Callable[[Prompt], bool]:
    return lambda question: question.profile_id == profile.id


def rejected(question: Prompt) -> Callable[[Prompt], bool]:
    """Return a function that matches this prompt after its login was not accepted."""
    number = question.number
    return lambda q: (q.number, q.rejections, q.checking) == (number, 1, False)


everywhere = pytest.mark.parametrize("proxy", NAMES, indirect=True)


@everywhere
def test_a_right_login_is_asked_for_once_and_no_log_on_fails(
    proxy: Counterpart,
    running: ServiceProcess,
    attach: AttachFrontEnd,
    clients: Clients,
    origin: Origin,
) -> None:
    front_end = attach(running)
    for name, (ask, expected) in REQUESTS.items():
        profile = use_another(front_end, proxy, name)
        waiting = ask(clients, running, origin)
        question = front_end.wait_for_prompt(about(profile))
        assert question.method.startswith(proxy.method)
        front_end.answer(question, proxy.right)
        assert waiting.result().out == expected
        assert front_end.wait_for_ending(question) is Ending.ACCEPTED
    # From then on, there is no prompt, and no request is refused.
    for again, said in REQUESTS.values():
        assert again(clients, running, origin).result().out == said
    assert len(front_end.prompts) == len(REQUESTS)
    assert proxy.failed_logons() == 0


@everywhere
def test_a_wrong_login_costs_one_failed_log_on_and_the_next_one_is_right(
    proxy: Counterpart,
    running: ServiceProcess,
    attach: AttachFrontEnd,
    clients: Clients,
    origin: Origin,
) -> None:
    front_end = attach(running)
    for count, (name, (ask, expected)) in enumerate(REQUESTS.items(), 1):
        profile = use_another(front_end, proxy, name)
        waiting = ask(clients, running, origin)
        first = front_end.wait_for_prompt(about(profile))
        # Each wrong password is different: a rejected login is never sent again.
        front_end.answer(first, Login(proxy.wrong.user, f"{proxy.wrong.password}{count}"))
        again = front_end.wait_for_prompt(rejected(first))
        assert again.reason is PromptReason.TYPED_REJECTED
        assert proxy.failed_logons() == count
        front_end.answer(again, proxy.right)
        assert waiting.result().out == expected
        assert front_end.wait_for_ending(again) is Ending.ACCEPTED
    assert len(front_end.prompts) == proxy.failed_logons() == len(REQUESTS)


@everywhere
def test_who_does_not_sign_in_is_answered_and_no_log_on_is_tried(
    proxy: Counterpart,
    running: ServiceProcess,
    attach: AttachFrontEnd,
    clients: Clients,
    origin: Origin,
) -> None:
    front_end = attach(running)
    for name, (ask, _) in REQUESTS.items():
        profile = use_another(front_end, proxy, name)
        waiting = ask(clients, running, origin)
        question = front_end.wait_for_prompt(about(profile))
        front_end.decline(question, Snooze.A_MINUTE)
        expected = "000 503" if name == "CONNECT" else "503 000"
        assert waiting.result().out.endswith(expected)
        assert front_end.wait_for_ending(question) is Ending.DECLINED
    assert proxy.failed_logons() == 0
    assert origin.received == ()


# --- Many at once ---------------------------------------------------------------------------------

MANY = 200


@pytest.mark.parametrize("proxy", ["squid-ntlm", "squid-kerberos"], indirect=True)
def test_two_hundred_tunnels_at_once_are_all_answered_and_each_is_one_log_on(
    proxy: Counterpart, running: ServiceProcess, front_end: FrontEnd, origin: Origin
) -> None:
    assert proxy.squid
    with ConcurrentConnects(running.address, origin.authority, MANY) as connects:
        question = front_end.wait_for_prompt(lambda question: question.waiting == MANY)
        front_end.answer(question, proxy.right)
        assert connects.statuses() == [200] * MANY
    assert len(front_end.prompts) == 1
    assert proxy.failed_logons() == 0
    # Each tunnel has a connection, which is authenticated once. With a scheme of several legs, a
    # preconnect may have authenticated another connection.
    scheme = "ntlm" if proxy.method == "NTLM" else "negotiate"
    verdicts = proxy.squid.verdicts(scheme)
    assert set(verdicts) == {"yes"}
    assert len(verdicts) - MANY in ((0, 1) if proxy.method == "NTLM" else (0,))


@pytest.mark.parametrize("proxy", ["squid-ntlm", "squid-kerberos"], indirect=True)
def test_two_hundred_requests_share_the_connections_that_are_signed_in(
    proxy: Counterpart,
    running: ServiceProcess,
    front_end: FrontEnd,
    clients: Clients,
    origin: Origin,
) -> None:
    assert proxy.squid
    first = get(clients, running, origin)
    front_end.answer(front_end.wait_for_prompt(), proxy.right)
    assert first.result().out == "hello\n\n200 000"
    urls = [origin.url("/hello")] * MANY
    batch = clients.curl("--parallel", "--parallel-max", "50", "-x", running.url, *urls).result()
    assert batch.out.split() == ["hello"] * MANY
    # Squid writes its log behind its answers.
    proxy.squid.wait_for_answers("GET", 200, MANY + 1)
    served = [access for access in proxy.squid.accesses() if access.status == 200]
    assert len(served) == MANY + 1
    scheme = "ntlm" if proxy.method == "NTLM" else "negotiate"
    # Those signed in ahead were so by a HEAD, which no cache could answer with anything but a 504.
    signed = [a for a in proxy.squid.accesses() if a.kind is MessageKind.CREDENTIALS]
    assert {access.status for access in signed} <= {200, 504}
    assert proxy.squid.verdicts(scheme) == ["yes"] * len(signed)
    assert len(signed) <= 51
    assert proxy.failed_logons() == 0
