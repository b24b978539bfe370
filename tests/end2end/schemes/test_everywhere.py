"""Each kind of upstream with each scheme: a single prompt, and no unnecessary failed log-on."""

from collections.abc import Callable, Iterator

import pytest

from tests.end2end.scenario import UserSession
from tests.support.concurrent_connects import ConcurrentConnects
from tests.support.counterparts import NAMES, Counterpart
from tests.support.octets import digest, write
from tests.support.processes import Job
from tests.support.squid import MessageKind
from trayproxy.auth.login import Login
from trayproxy.domain.signin import Ending, Prompt, PromptReason, Snooze
from trayproxy.profiles.profile import Profile

STATUS = ("-w", "\n%{http_code} %{http_connect}")
SCHEMES = {"NTLM": "ntlm", "Kerberos": "negotiate"}
"""The scheme of a method."""


StartRequest = Callable[[UserSession], Job]


def get(user: UserSession) -> Job:
    return user.curl(*STATUS, user.origin.url("/hello"))


def post(size: int) -> StartRequest:
    def start(user: UserSession) -> Job:
        body = write(user.clients.home.root / "body", size)
        # Without its own "Expect: 100-continue", curl sends the body at once.
        data = ("--data-binary", f"@{body}", "-H", "Expect:")
        return user.curl(*STATUS, *data, user.origin.url("/sha256"))

    return start


def connect(user: UserSession) -> Job:
    return user.curl(*STATUS, "--proxytunnel", user.origin.url("/hello"))


SMALL, LARGE = 1_000, 5_000_000
REQUESTS: dict[str, tuple[StartRequest, str]] = {
    "GET": (get, "hello\n\n200 000"),
    "POST of 1 kB": (post(SMALL), f"{SMALL} {digest(SMALL)}\n\n200 000"),
    "POST of 5 MB": (post(LARGE), f"{LARGE} {digest(LARGE)}\n\n200 000"),
    "CONNECT": (connect, "hello\n\n200 200"),
}


def prompts_for_requests(
    user: UserSession, proxy: Counterpart
) -> Iterator[tuple[str, Job, str, Prompt]]:
    """Start each request with a new profile, which has no known login.

    Yield the name, the program, its expected output and the prompt.
    """
    for name, (start, expected) in REQUESTS.items():
        profile = Profile(
            name.lower().replace(" ", "-"), name, proxy.upstream, user=proxy.right.user
        )
        user.use(profile)
        waiting = start(user)
        yield name, waiting, expected, user.front_end.wait_for_prompt(about(profile))


def about(profile: Profile) -> Callable[[Prompt], bool]:
    return lambda prompt: prompt.profile_id == profile.id


def rejected(question: Prompt) -> Callable[[Prompt], bool]:
    """Return a function that matches this prompt after its login was not accepted."""
    number = question.number
    return lambda q: (q.number, q.rejections, q.checking) == (number, 1, False)


everywhere = pytest.mark.parametrize("proxy", NAMES, indirect=True)


@everywhere
def test_a_right_login_needs_one_prompt_and_no_log_on_fails(
    proxy: Counterpart, user: UserSession
) -> None:
    front_end = user.front_end
    for _, waiting, expected, question in prompts_for_requests(user, proxy):
        assert question.method.startswith(proxy.method)
        front_end.answer(question, proxy.right)
        assert waiting.result().out == expected
        assert front_end.wait_for_ending(question) is Ending.ACCEPTED
    # From then on, there is no prompt, and no request is refused.
    for start, expected in REQUESTS.values():
        assert start(user).result().out == expected
    assert len(front_end.prompts) == len(REQUESTS)
    assert proxy.failed_logons() == 0


@everywhere
def test_a_wrong_login_costs_one_failed_log_on_and_the_next_login_is_accepted(
    proxy: Counterpart, user: UserSession
) -> None:
    front_end = user.front_end
    requests = prompts_for_requests(user, proxy)
    for count, (_, waiting, expected, first) in enumerate(requests, 1):
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
def test_a_declined_sign_in_is_answered_with_503_and_without_a_log_on(
    proxy: Counterpart, user: UserSession
) -> None:
    front_end = user.front_end
    for name, waiting, _, question in prompts_for_requests(user, proxy):
        front_end.decline(question, Snooze.A_MINUTE)
        expected = "000 503" if name == "CONNECT" else "503 000"
        assert waiting.result().out.endswith(expected)
        assert front_end.wait_for_ending(question) is Ending.DECLINED
    assert proxy.failed_logons() == 0
    assert user.origin.received == ()


# --- Many at once ---------------------------------------------------------------------------------

MANY = 200


many = pytest.mark.parametrize("proxy", ["squid-ntlm", "squid-kerberos"], indirect=True)


@many
def test_two_hundred_tunnels_at_once_are_all_answered_and_each_is_one_log_on(
    proxy: Counterpart, user: UserSession
) -> None:
    assert proxy.squid
    with ConcurrentConnects(user.service.address, user.origin.authority, MANY) as connects:
        question = user.front_end.wait_for_prompt(lambda question: question.waiting == MANY)
        user.front_end.answer(question, proxy.right)
        assert connects.statuses() == [200] * MANY
    assert len(user.front_end.prompts) == 1
    assert proxy.failed_logons() == 0
    # Each tunnel has a connection, which is authenticated once. With a scheme of several legs, a
    # preconnect may have authenticated another connection.
    verdicts = proxy.squid.verdicts(SCHEMES[proxy.method])
    assert set(verdicts) == {"yes"}
    assert len(verdicts) - MANY in ((0, 1) if proxy.method == "NTLM" else (0,))


@many
def test_two_hundred_requests_share_the_authenticated_connections(
    proxy: Counterpart, user: UserSession
) -> None:
    assert proxy.squid
    first = get(user)
    user.front_end.answer(user.front_end.wait_for_prompt(), proxy.right)
    assert first.result().out == "hello\n\n200 000"
    urls = [user.origin.url("/hello")] * MANY
    batch = user.curl("--parallel", "--parallel-max", "50", *urls).result()
    assert batch.out.split() == ["hello"] * MANY
    # Squid logs a request after its response.
    proxy.squid.wait_for_answers("GET", 200, MANY + 1)
    served = [access for access in proxy.squid.accesses() if access.status == 200]
    assert len(served) == MANY + 1
    # A preconnect sends a HEAD to which a cache can only respond with 504.
    signed = [a for a in proxy.squid.accesses() if a.kind is MessageKind.CREDENTIALS]
    assert {access.status for access in signed} <= {200, 504}
    assert proxy.squid.verdicts(SCHEMES[proxy.method]) == ["yes"] * len(signed)
    assert len(signed) <= 51
    assert proxy.failed_logons() == 0
