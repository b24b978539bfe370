"""A login is tried once, also after disconnections and restarts of the service."""

import pytest

from tests.end2end.scenario import HELLO, AttachFrontEnd, StartWithProfile, UserSession
from tests.support.clients import Clients
from tests.support.concurrent_connects import ConcurrentConnects
from tests.support.counterparts import Counterpart
from tests.support.kerberos import Kdc
from tests.support.keyring_session import KeyringSession
from tests.support.origin import Origin
from tests.support.processes import Home
from tests.support.searchable_secret import SearchableSecret
from tests.support.service import service
from tests.support.squid import SquidSetup, squid
from trayproxy.auth.login import Login
from trayproxy.control.messages import SaveProfile, UseProfile
from trayproxy.domain.signin import Ending, PromptReason
from trayproxy.profiles.profile import Profile, Upstream

everywhere = pytest.mark.parametrize(
    "proxy",
    ["squid-basic", "squid-digest", "squid-ntlm", "squid-kerberos", "squid-all", "sha-256"],
    indirect=True,
)


@everywhere
def test_fifty_tunnels_and_a_wrong_password_cost_a_single_failed_log_on_and_prompt(
    proxy: Counterpart, user: UserSession
) -> None:
    front_end = user.front_end
    with ConcurrentConnects(user.service.address, user.origin.authority, 50) as connects:
        first = front_end.wait_for_prompt(lambda q: q.waiting == 50)
        front_end.answer(first, proxy.wrong)
        again = front_end.wait_for_prompt(lambda q: q.rejections == 1 and not q.checking)
        assert proxy.failed_logons() == 1
        assert connects.waiting == 50
        front_end.answer(again, proxy.right)
        assert connects.statuses() == [200] * 50
    assert [question.number for question in front_end.prompts] == [first.number]
    assert proxy.failed_logons() == 1


@everywhere
def test_a_typed_login_is_kept_although_the_program_has_disconnected(
    proxy: Counterpart, user: UserSession
) -> None:
    question = user.disconnect_during_prompt()
    user.front_end.answer(question, proxy.right)
    assert user.front_end.wait_for_ending(question) is Ending.ACCEPTED
    # The next request of the program is served at once.
    assert user.fetch() == HELLO
    assert len(user.front_end.prompts) == 1
    assert proxy.failed_logons() == 0


@pytest.mark.parametrize("proxy", ["squid-kerberos"], indirect=True)
def test_a_changed_password_is_tried_by_the_first_start_only(
    proxy: Counterpart,
    directory: Kdc,
    keyring: KeyringSession,
    place: Home,
    attach: AttachFrontEnd,
    clients: Clients,
    origin: Origin,
) -> None:
    environment = {**keyring.environment, **proxy.environment}
    with service(place, environment=environment) as first:
        front_end = attach(first)
        front_end.request_done(
            SaveProfile(Profile("office", "Office", proxy.upstream, user=proxy.right.user))
        )
        front_end.request_done(UseProfile("office"))
        waiting = clients.curl("-x", first.url, origin.url("/hello"))
        front_end.answer(front_end.wait_for_prompt(), proxy.right)
        assert waiting.result().out == "hello"
        keyring.wait_for_entries(1)
        assert first.stop() == 0
    changed = Login(proxy.right.user, f"{proxy.right.password} 2")
    directory.set_password(changed.user, changed.password)
    for _ in range(3):
        with service(place, environment=environment) as again:
            front_end = attach(again)
            waiting = clients.curl("-x", again.url, origin.url("/hello"))
            question = front_end.wait_for_prompt()
            assert question.reason is PromptReason.SAVED_REJECTED
            assert proxy.failed_logons() == 1
            waiting.process.end()
            assert again.stop() == 0
    with service(place, environment=environment) as last:
        front_end = attach(last, [changed])
        assert clients.curl("-x", last.url, origin.url("/hello")).result().out == "hello"
    assert proxy.failed_logons() == 1


def test_two_hundred_handshakes_are_all_answered_by_four_helpers(
    start_with_profile: StartWithProfile, account: SearchableSecret
) -> None:
    """Squid reserves a helper for each unfinished handshake: an abandoned one blocks its helper."""
    setup = SquidSetup({account.user: account.password}, ("ntlm",), helpers=4)
    with squid(setup) as proxy:
        user = start_with_profile(Upstream(proxy.host, proxy.port), account.user)
        with ConcurrentConnects(user.service.address, user.origin.authority, 200) as connects:
            question = user.front_end.wait_for_prompt(lambda question: question.waiting == 200)
            user.front_end.answer(question, account.login)
            assert connects.statuses() == [200] * 200
        # A preconnect for the next tunnel may have authenticated another connection.
        verdicts = proxy.verdicts("ntlm")
        assert set(verdicts) == {"yes"}
        assert len(verdicts) in (200, 201)
