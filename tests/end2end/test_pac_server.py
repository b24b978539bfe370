"""Profiles whose PAC script comes from a web server, which may be slow, wrong or hostile."""

from tests.end2end.scenario import HELLO, StartService, StartUser
from tests.pac.pac_server import PacServer, ok
from tests.support.keyring_session import KeyringSession
from tests.support.searchable_secret import SearchableSecret
from tests.support.service import run_command
from tests.support.squid import Squid
from trayproxy.control.messages import UseProfile
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import DIRECT_ID, Profile


def script_for(proxy: Squid) -> bytes:
    return ok(f'function FindProxyForURL(url, host) {{ return "PROXY {proxy.address}"; }}')


def profile_of(server: PacServer) -> Profile:
    source = PacSource(PacKind.URL, f"http://127.0.0.1:{server.port}/proxy.pac")
    return Profile("auto", "Auto", None, pac=source)


def status_of(run: StartService) -> str:
    return run_command(run.place, "status").stdout


def test_the_last_good_copy_serves_while_the_server_is_away_or_sends_a_web_page(
    start_user: StartUser, run: StartService, proxy: Squid, account: SearchableSecret
) -> None:
    portal = ok("<!doctype html><html>Sign in to the hotel</html>")
    with PacServer(script_for(proxy), portal) as server:
        user = start_user(profile_of(server), account.login)
        assert user.fetch() == HELLO
        evaluated = run_command(run.place, "pac", "eval", "--reload", user.origin.url("/hello"))
        assert "the last good copy" in evaluated.stdout
        assert "it is a web page, not a script" in status_of(run)
        assert user.fetch() == HELLO
        user.end()
    # The server is gone when TrayProxy starts again.
    again = run(session=start_user.keyring)
    assert start_user.clients.curl("-x", again.url, user.origin.url("/hello")).result().out != ""
    assert "TP-501" in status_of(run)
    assert "The last good copy from" in status_of(run)


def test_a_password_is_not_sent_unasked_to_a_proxy_that_anybody_could_have_named(
    start_user: StartUser,
    run: StartService,
    proxy: Squid,
    account: SearchableSecret,
    keyring: KeyringSession,
) -> None:
    with PacServer(script_for(proxy)) as server:
        user = start_user(profile_of(server), account.login)
        login = ("login", "Auto", "--user", account.user, "--stdin")
        environment, line = keyring.environment, f"{account.password}\n"
        refused = run_command(run.place, *login, stdin=line, environment=environment)
        assert refused.returncode == 1
        assert "anybody in the network could have named" in refused.stderr
        assert all(access.scheme == "" for access in proxy.accesses())
        # A prompt names the proxy.
        assert user.fetch() == HELLO
        assert [prompt.upstream for prompt in user.front_end.prompts] == [proxy.url]


def test_a_request_that_waits_for_a_silent_server_follows_a_switch(start_user: StartUser) -> None:
    with PacServer(lambda connection: connection.recv(1)) as server:
        user = start_user(profile_of(server))
        page = f"http://127.0.0.1:{user.origin.port}/hello"
        waiting = user.curl("-w", "\n%{http_code}", page)
        user.front_end.wait_for_status(lambda status: status.active == 1)
        user.front_end.request_done(UseProfile(DIRECT_ID))
        assert waiting.result().out == HELLO
        user.front_end.wait_for_status(lambda status: status.active == 0)
        # A request that waits does not delay the end of TrayProxy either.
        user.front_end.request_done(UseProfile("auto"))
        waiting = user.curl("-w", "\n%{http_code}", page)
        user.front_end.wait_for_status(lambda status: status.active == 1)
        user.end()
        assert waiting.result().out.endswith("\n503")
