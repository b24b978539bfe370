"""The output and the failed log-ons of ``trayproxy test`` and ``trayproxy login``."""

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest

from tests.end2end.scenario import HELLO, Scenario, StartService, UserSession
from tests.support.clients import Clients
from tests.support.origin import Origin
from tests.support.ports import free_port
from tests.support.processes import Home
from tests.support.scripted_upstream import OK, ScriptedConnection, ScriptedUpstream, challenge
from tests.support.searchable_secret import SearchableSecret
from tests.support.service import run_command
from tests.support.squid import Squid
from trayproxy.auth.basic import basic_credentials
from trayproxy.auth.login import Login
from trayproxy.control.client import connect
from trayproxy.control.messages import CheckProfile, SaveProfile
from trayproxy.domain.signin import Ending, KeyringState, SignInState, Snooze
from trayproxy.profiles.profile import SignIn, Upstream

RunCommand = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_verb(place: Home) -> RunCommand:
    """Runs a verb of the command line with the files of the service of this test."""
    return partial(run_command, place)


def move_to(user: UserSession, scenario: Scenario, port: int) -> None:
    """Change the port of the upstream in the profile."""
    user.front_end.request_done(
        SaveProfile(replace(scenario.profile, upstream=Upstream("127.0.0.1", port)))
    )


def test_the_check_of_a_working_profile_succeeds(scenario: Scenario, run_verb: RunCommand) -> None:
    scenario.begin(scenario.run(), scenario.login)
    done = run_verb("test", "--url", scenario.origin.url("/hello"))
    assert done.returncode == 0, done
    assert f"as {scenario.login.user} (Basic)" in done.stdout
    assert done.stdout.endswith("All good.\n")
    assert "asks for the sign-in in its window" in done.stderr
    # The login is known now: there is no second prompt.
    again = run_verb("test", "office", "--url", scenario.origin.url("/hello"), "--json")
    told = json.loads(again.stdout)
    assert (again.returncode, again.stderr, told["works"]) == (0, "", True)
    assert [step["state"] for step in told["steps"] if step["name"] != "encryption"] == ["ok"] * 5
    assert scenario.login.password not in done.stdout + done.stderr + again.stdout
    assert scenario.proxy.failed_logons() == 0


@pytest.mark.parametrize(("status", "problem"), [(403, "TP-306"), (404, "TP-209"), (500, "TP-203")])
def test_a_page_with_an_error_status_fails_the_check(
    status: int, problem: str, scenario: Scenario, run_verb: RunCommand
) -> None:
    user = scenario.begin(scenario.run(), scenario.login)
    assert user.fetch() == HELLO
    done = run_verb("test", "--url", scenario.origin.url(f"/status/{status}"))
    assert done.returncode != 0
    assert "All good" not in done.stdout
    assert f"✖ Fetch {scenario.origin.url('/status')}" in done.stdout
    assert f"The page answered {status}" in done.stdout
    assert "the sign-in is right" in done.stdout
    assert f"({problem})" in done.stdout


def test_a_check_during_a_snooze_explains_how_to_sign_in(
    scenario: Scenario, run_verb: RunCommand
) -> None:
    user = scenario.begin(scenario.run(), Snooze.A_WHILE)
    assert user.fetch().endswith("503")
    done = run_verb("test", "--url", scenario.origin.url("/hello"))
    assert done.returncode == 4
    assert "TrayProxy does not ask for a sign-in now" in done.stdout
    assert "reload" not in done.stdout


def test_a_check_without_prompts_costs_no_log_on(scenario: Scenario, run_verb: RunCommand) -> None:
    scenario.begin(scenario.run("--no-prompt"))
    done = run_verb("test", "--url", scenario.origin.url("/hello"), "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["exit_code"], told["works"]) == (4, 4, False)
    failed = next(step for step in told["steps"] if step["state"] == "failed")
    assert (failed["name"], failed["problem"]["id"]) == ("sign-in", "TP-301")
    assert scenario.proxy.failed_logons() == 0


def test_a_check_does_not_send_a_rejected_password(
    scenario: Scenario, run_verb: RunCommand
) -> None:
    first = scenario.start()
    assert run_verb("login", "--stdin", stdin=f"{scenario.login.password}\n").returncode == 0
    first.end()
    scenario.proxy.set_password(scenario.login.user, "changed meanwhile")
    scenario.run("--no-prompt", session=scenario.keyring)
    for _ in range(3):
        done = run_verb("test", "--url", scenario.origin.url("/hello"))
        assert done.returncode == 4, done
        assert "✖ Sign-in" in done.stdout
    assert scenario.proxy.failed_logons() == 1


def test_an_unreachable_proxy_is_reported_with_advice(
    scenario: Scenario, run_verb: RunCommand
) -> None:
    move_to(scenario.begin(scenario.run()), scenario, free_port())
    done = run_verb("test")
    assert done.returncode == 5
    assert "✖ Connect to port" in done.stdout
    assert "Check the port in the profile." in done.stdout
    assert "(TP-202)" in done.stdout


def test_the_prompt_of_an_abandoned_check_closes(scenario: Scenario) -> None:
    user = scenario.begin(scenario.run())
    with connect(user.service.paths) as client:
        client.hello("cli", can_prompt=False)
        client.send(CheckProfile(scenario.profile, scenario.origin.url("/hello")))
        question = user.front_end.wait_for_prompt()
    assert user.front_end.wait_for_ending(question) is Ending.ABANDONED


def test_a_login_is_verified_before_it_is_saved_and_a_wrong_login_changes_nothing(
    scenario: Scenario, run_verb: RunCommand
) -> None:
    user = scenario.start()
    saved = run_verb("login", "--stdin", stdin=f"{scenario.login.password}\n")
    assert (saved.returncode, saved.stdout) == (0, ""), saved
    assert saved.stderr == "The proxy has accepted the password; it is saved.\n"
    user.front_end.wait_for_status(lambda status: status.saved is True)
    for _ in range(2):
        wrong = run_verb("login", "--stdin", stdin="wrong\n")
        assert wrong.returncode == 4
        assert "(TP-302)" in wrong.stderr
    user.front_end.request_done(SaveProfile(replace(scenario.profile, id="lab", name="Lab")))
    alias = Upstream("localhost", scenario.proxy.port)
    user.front_end.request_done(
        SaveProfile(replace(scenario.profile, id="alias", name="Alias", upstream=alias))
    )
    for name in ("lab", "alias"):
        wrong = run_verb("login", name, "--stdin", stdin="wrong\n")
        assert wrong.returncode == 4
        assert "did not accept this password for “Office”" in wrong.stderr
        assert "This is the same password; it was not sent again" in wrong.stderr
    assert scenario.proxy.failed_logons() == 1
    assert [entry.secret for entry in scenario.keyring.entries()] == [scenario.login.password]
    assert user.front_end.prompts == []
    # The accepted login is still used.
    assert user.fetch() == HELLO
    assert user.front_end.prompts == []
    assert run_verb("logout").returncode == 0
    user.front_end.wait_for_status(lambda status: status.saved is False)
    assert scenario.keyring.entries() == []


def test_an_accepted_login_changes_the_user_name_of_the_profile(
    scenario: Scenario, run_verb: RunCommand
) -> None:
    scenario.sign_in_earlier()
    other = SearchableSecret("asmith")
    scenario.proxy.set_password(other.user, other.password)
    user = scenario.restart()
    given = ("login", "--user", other.user, "--stdin")
    assert run_verb(*given, stdin="wrong\n").returncode == 4
    assert "user = 'alice'" in user.service.paths.config_file.read_text().replace('"', "'")
    assert run_verb(*given, stdin=f"{other.password}\n").returncode == 0
    assert "user = 'asmith'" in user.service.paths.config_file.read_text().replace('"', "'")
    (entry,) = scenario.keyring.entries()
    assert entry.attributes["username"] == other.user
    user.end()
    again = scenario.restart()
    assert again.fetch() == HELLO
    assert again.front_end.prompts == []
    assert "asmith" in {access.user for access in scenario.proxy.accesses()}


def test_login_gives_a_password_to_a_run_without_keyring_and_without_prompt(
    run: StartService,
    proxy: Squid,
    account: SearchableSecret,
    clients: Clients,
    origin: Origin,
    run_verb: RunCommand,
) -> None:
    service = run("--upstream", proxy.url, "--no-prompt")
    told = clients.curl("-x", service.url, origin.url("/hello")).result().out
    assert "“trayproxy login”" in told
    given = run_verb("login", "--user", account.user, "--stdin", stdin=f"{account.password}\n")
    assert given.returncode == 0, given
    assert "keeps it in memory until it quits" in given.stderr
    assert "This run keeps no passwords" in given.stderr
    assert "no keyring" not in given.stderr
    assert clients.curl("-x", service.url, origin.url("/hello")).result().out == "hello"
    assert service.status().keyring.state is KeyringState.OFF
    assert proxy.failed_logons() == 0


def test_status_does_not_say_connected_while_every_request_is_refused(
    scenario: Scenario, run_verb: RunCommand
) -> None:
    user = scenario.attach_user(scenario.run())
    user.front_end.request_done(SaveProfile(replace(scenario.profile, sign_in=SignIn.NONE)))
    assert "wants a sign-in" in user.fetch()
    user.front_end.wait_for_status(lambda status: status.sign_in is SignInState.UNUSABLE)
    told = run_verb("status")
    assert told.returncode == 4
    assert told.stdout.startswith("Office — the proxy wants a sign-in\n")
    assert "TP-303" in told.stdout
    user.front_end.request_done(SaveProfile(scenario.profile))
    assert run_verb("status").returncode == 0


def test_an_unverifiable_login_is_not_saved(scenario: Scenario, run_verb: RunCommand) -> None:
    move_to(scenario.start(), scenario, free_port())
    saved = run_verb("login", "--stdin", stdin="a password\n")
    assert saved.returncode == 5
    assert "(TP-307)" in saved.stderr
    assert scenario.keyring.entries() == []


@pytest.fixture(params=[302, 401, 500])
def vague(request: pytest.FixtureRequest) -> Iterator[ScriptedUpstream]:
    """A proxy with the same vague response to every login, right or wrong."""

    def play(peer: ScriptedConnection) -> None:
        while b"\r\nProxy-Authorization:" not in peer.read_head():
            peer.send(challenge('Basic realm="Corp"'))
        peer.send(
            b"HTTP/1.1 %d Vague\r\nLocation: http://portal.test/\r\nContent-Length: 0\r\n\r\n"
            % request.param
        )
        while True:
            peer.read_head()
            peer.send(challenge('Basic realm="Corp"'))

    with ScriptedUpstream(play) as upstream:
        yield upstream


def test_a_login_with_an_unclear_verdict_is_not_kept(
    run: StartService, clients: Clients, run_verb: RunCommand, vague: ScriptedUpstream
) -> None:
    service = run("--upstream", vague.url, "--no-prompt")
    given = run_verb("login", "--user", "jdoe", "--stdin", stdin="wrong\n")
    assert given.returncode == 5
    assert "The password could not be checked yet" in given.stderr
    assert "Nothing was saved. (TP-307)" in given.stderr
    told = clients.curl("-x", service.url, "http://site.test/").result().out
    assert "“trayproxy login”" in told


def test_a_check_with_an_unclear_verdict_says_so(
    run: StartService, run_verb: RunCommand, vague: ScriptedUpstream
) -> None:
    run("--upstream", vague.url, "--no-prompt", login=Login("jdoe", "wrong"))
    done = run_verb("test", "--url", "http://site.test/")
    assert done.returncode == 5
    assert "✖ Sign-in" in done.stdout
    assert "The password could not be checked yet" in done.stdout
    assert "(TP-307)" in done.stdout


RIGHT = basic_credentials(Login("jdoe", "right"))


def blocking(blocked: str, *, before_login: bool) -> ScriptedUpstream:
    """A proxy with 403 for hosts with this text in their name, and 407 for a wrong login."""

    def play(peer: ScriptedConnection) -> None:
        while True:
            head = peer.read_head()
            is_blocked = blocked.encode() in head.splitlines()[0]
            if is_blocked and before_login:
                peer.send(b"HTTP/1.1 403 Blocked\r\nContent-Length: 0\r\n\r\n")
            elif RIGHT not in head:
                peer.send(challenge('Basic realm="Corp"'))
            elif is_blocked:
                peer.send(b"HTTP/1.1 403 Blocked\r\nContent-Length: 0\r\n\r\n")
            else:
                peer.send(OK)

    return ScriptedUpstream(play)


@pytest.mark.parametrize("before_login", [True, False], ids=["before login", "after login"])
@pytest.mark.parametrize("password", ["right", "wrong"])
def test_a_login_is_verified_on_another_page_when_the_usual_page_is_blocked(
    run: StartService, run_verb: RunCommand, before_login: bool, password: str
) -> None:
    with blocking("example.com", before_login=before_login) as upstream:
        run("--upstream", upstream.url, "--no-prompt")
        given = run_verb("login", "--user", "jdoe", "--stdin", stdin=f"{password}\n")
    heads = b"".join(peer.received for peer in upstream.peers)
    if password == "right":
        assert given.returncode == 0, given
        assert "The proxy has accepted the password" in given.stderr
        assert heads.count(RIGHT) == (1 if before_login else 2)
    else:
        assert given.returncode == 4, given
        assert "(TP-302)" in given.stderr
        assert heads.count(b"Proxy-Authorization:") == 1


@pytest.mark.parametrize("before_login", [True, False], ids=["before login", "after login"])
def test_a_login_stays_unverified_when_every_page_is_blocked(
    run: StartService, run_verb: RunCommand, before_login: bool
) -> None:
    with blocking("http", before_login=before_login) as upstream:
        run("--upstream", upstream.url, "--no-prompt")
        given = run_verb("login", "--user", "jdoe", "--stdin", stdin="right\n")
    assert given.returncode == 5, given
    assert "The password could not be checked yet" in given.stderr
    assert "(TP-307)" in given.stderr
    heads = b"".join(peer.received for peer in upstream.peers)
    assert heads.count(RIGHT) == (0 if before_login else 3)
