"""``trayproxy test`` and ``trayproxy login``: what they say, and what they cost."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.end2end.stage import Attach, Run, Use
from tests.support.clients import Clients
from tests.support.keyring_session import KeyringSession
from tests.support.origin import Origin
from tests.support.ports import free_port
from tests.support.processes import SOURCES, Home
from tests.support.secrets import Canary
from tests.support.squid import Squid
from trayproxy.control.client import connect
from trayproxy.control.messages import CheckProfile, Ending, SaveProfile
from trayproxy.profiles.profile import Upstream

Done = subprocess.CompletedProcess[str]
Type = Callable[..., Done]


@pytest.fixture
def type_in(place: Home) -> Type:
    """Run a verb beside the service of this home."""

    def call(*arguments: str, stdin: str = "") -> Done:
        return subprocess.run(
            [sys.executable, "-m", "trayproxy", *arguments],
            cwd=SOURCES,
            env={**place.environment(), "TRAYPROXY_HOME": str(place.path("trayproxy"))},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return call


def test_a_profile_that_works_is_said_to_work(
    run: Run, attach: Attach, use: Use, proxy: Squid, canary: Canary, origin: Origin, type_in: Type
) -> None:
    face = attach(run(), [canary.login])
    use(face, proxy)
    done = type_in("test", "--url", origin.url("/hello"))
    assert done.returncode == 0, done
    assert f"as {canary.user} (Basic)" in done.stdout
    assert done.stdout.endswith("All good.\n")
    assert "asks for the sign-in in its window" in done.stderr
    # What is known now is not asked for again.
    again = type_in("test", "office", "--url", origin.url("/hello"), "--json")
    told = json.loads(again.stdout)
    assert (again.returncode, again.stderr, told["works"]) == (0, "", True)
    assert [step["state"] for step in told["steps"] if step["name"] != "encryption"] == ["ok"] * 5
    assert canary.password not in done.stdout + done.stderr + again.stdout
    assert proxy.failed_logons() == 0


def test_a_test_with_nobody_to_ask_costs_no_log_on(
    run: Run, attach: Attach, use: Use, proxy: Squid, origin: Origin, type_in: Type
) -> None:
    service = run("--no-prompt")
    use(attach(service), proxy)
    done = type_in("test", "--url", origin.url("/hello"), "--json")
    told = json.loads(done.stdout)
    assert (done.returncode, told["exit_code"], told["works"]) == (4, 4, False)
    failed = next(step for step in told["steps"] if step["state"] == "failed")
    assert (failed["name"], failed["problem"]["id"]) == ("sign-in", "TP-301")
    assert proxy.failed_logons() == 0


def test_a_test_does_not_send_a_password_that_was_rejected_before(
    run: Run,
    attach: Attach,
    use: Use,
    keyring: KeyringSession,
    proxy: Squid,
    canary: Canary,
    origin: Origin,
    type_in: Type,
) -> None:
    first = run(session=keyring)
    use(attach(first), proxy)
    assert type_in("login", "--stdin", stdin=f"{canary.password}\n").returncode == 0
    assert first.stop() == 0
    proxy.set_password(canary.user, "changed meanwhile")
    run("--no-prompt", session=keyring)
    for _ in range(3):
        done = type_in("test", "--url", origin.url("/hello"))
        assert done.returncode == 4, done
        assert "✖ Sign-in" in done.stdout
    assert proxy.failed_logons() == 1


def test_a_proxy_that_is_not_there_is_told_with_what_to_do(
    run: Run, attach: Attach, use: Use, proxy: Squid, type_in: Type
) -> None:
    face = attach(run())
    profile = use(face, proxy)
    port = free_port()
    face.must(SaveProfile(replace(profile, upstream=Upstream("127.0.0.1", port))))
    done = type_in("test")
    assert done.returncode == 5
    assert "✖ Connect to port" in done.stdout
    assert "Check the port in the profile." in done.stdout
    assert "(TP-202)" in done.stdout


def test_the_question_of_a_test_that_was_left_closes(
    run: Run, attach: Attach, use: Use, proxy: Squid, origin: Origin
) -> None:
    service = run()
    face = attach(service)
    profile = use(face, proxy)
    with connect(service.paths) as client:
        client.hello("cli", asks=False)
        client.send(CheckProfile(profile, origin.url("/hello")))
        question = face.wait_for_question()
    assert face.wait_for_ending(question) is Ending.ABANDONED


def test_a_login_is_tried_before_it_is_saved_and_a_wrong_one_changes_nothing(
    run: Run,
    attach: Attach,
    use: Use,
    keyring: KeyringSession,
    proxy: Squid,
    canary: Canary,
    origin: Origin,
    clients: Clients,
    type_in: Type,
) -> None:
    service = run(session=keyring)
    face = attach(service)
    use(face, proxy)
    saved = type_in("login", "--stdin", stdin=f"{canary.password}\n")
    assert (saved.returncode, saved.stdout) == (0, ""), saved
    assert saved.stderr == "The proxy has accepted the password; it is saved.\n"
    face.wait_for_status(lambda status: status.saved is True)
    for _ in range(2):
        wrong = type_in("login", "--stdin", stdin="wrong\n")
        assert wrong.returncode == 4
        assert "(TP-302)" in wrong.stderr
    assert proxy.failed_logons() == 1
    assert [entry.secret for entry in keyring.entries()] == [canary.password]
    assert face.questions == []
    # What worked still does.
    assert clients.curl("-x", service.url, origin.url("/hello")).result().out == "hello"
    assert face.questions == []
    assert type_in("logout").returncode == 0
    face.wait_for_status(lambda status: status.saved is False)
    assert keyring.entries() == []


def test_a_login_that_cannot_be_tried_is_not_saved(
    run: Run, attach: Attach, use: Use, keyring: KeyringSession, proxy: Squid, type_in: Type
) -> None:
    face = attach(run(session=keyring))
    profile = use(face, proxy)
    face.must(SaveProfile(replace(profile, upstream=Upstream("127.0.0.1", free_port()))))
    saved = type_in("login", "--stdin", stdin="a password\n")
    assert saved.returncode == 5
    assert "(TP-307)" in saved.stderr
    assert keyring.entries() == []
