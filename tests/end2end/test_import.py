"""Passwords from the settings of Px and Cntlm, with a real Squid and a real keyring.

No service runs, unless a test says otherwise.
"""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import secretstorage
from jeepney.io.blocking import open_dbus_connection

from tests.cli.terminal_screen import TerminalScreen
from tests.end2end.scenario import HELLO, Scenario
from tests.support.keyring_session import KeyringSession
from tests.support.processes import Home
from tests.support.searchable_secret import SearchableSecret, files_below
from tests.support.squid import Squid

Import = Callable[..., "subprocess.CompletedProcess[str]"]
TRY = ("--yes", "--try-passwords")


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


@pytest.fixture
def environment(place: Home, keyring: KeyringSession) -> dict[str, str]:
    return place.trayproxy_environment(keyring.environment)


@pytest.fixture
def import_from(environment: dict[str, str]) -> Import:
    """Run ``trayproxy import``."""

    def run(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-m", "trayproxy", "import", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def cntlm_conf(keyring: KeyringSession, proxy: Squid, account: SearchableSecret) -> Path:
    """The settings of Cntlm, with an old password."""
    text = f'Proxy {proxy.address}\nUsername {account.user}\nPassword "an old one"\n'
    return write(keyring.home / ".cntlm.conf", text)


@pytest.fixture
def px_ini(environment: dict[str, str], proxy: Squid, account: SearchableSecret) -> Path:
    """The settings of Px, with the right password."""
    text = (
        f"[proxy]\nserver = {proxy.address}\nusername = {account.user}\n"
        f"password = {account.password}\n"
    )
    return write(Path(environment["XDG_CONFIG_HOME"]) / "px/px.ini", text)


def test_a_password_is_saved_only_after_the_proxy_has_accepted_it(
    import_from: Import,
    cntlm_conf: Path,
    px_ini: Path,
    place: Home,
    keyring: KeyringSession,
    proxy: Squid,
    account: SearchableSecret,
) -> None:
    rejected = import_from("cntlm", *TRY)
    assert rejected.returncode == 4, rejected.stderr
    assert "Added “127.0.0.1”.\nThe password for “127.0.0.1” was not saved." in rejected.stderr
    assert f"in clear text in {cntlm_conf}, line 3 (Password)" in rejected.stderr
    assert keyring.entries() == []
    assert proxy.failed_logons() == 1
    # A password that was rejected is not sent again.
    assert import_from("cntlm", *TRY).returncode == 4
    assert proxy.failed_logons() == 1

    accepted = import_from("px", *TRY)
    assert accepted.returncode == 0, accepted.stderr
    assert "The proxy has accepted the password for “127.0.0.1”; it is in" in accepted.stderr
    assert f"in clear text in {px_ini}, line 4 (password)" in accepted.stderr
    (entry,) = keyring.entries()
    assert (entry.secret, entry.attributes["username"]) == (account.password, account.user)
    assert proxy.failed_logons() == 1

    outputs = (each.stdout + each.stderr for each in (rejected, accepted))
    account.assert_absent(("the output", text.encode()) for text in outputs)
    account.assert_absent(files_below(place.root))


def test_the_password_of_px_in_the_keyring_is_read_after_a_question(
    scenario: Scenario, environment: dict[str, str], account: SearchableSecret
) -> None:
    with open_dbus_connection(scenario.keyring.bus) as bus:
        attributes = {"service": "Px", "username": account.user, "application": "Python keyring"}
        secret = account.password.encode()
        secretstorage.get_default_collection(bus).create_item("Px", attributes, secret)
    text = f"[proxy]\nserver = {scenario.proxy.address}\nusername = {account.user}\n"
    write(Path(environment["XDG_CONFIG_HOME"]) / "px/px.ini", text)
    running = scenario.run(session=scenario.keyring)
    shown = TerminalScreen("trayproxy", "import", "px", environ=environment)
    shown.answer(r"Add “127\.0\.0\.1”\? \[y/N\]", "y\n")
    shown.answer(r"Read the password of Px in the keyring, and try it .* log-on\. \[y/N\]", "y\n")
    shown.wait_for("The proxy has accepted the password")
    assert shown.end() == 0
    assert account.password not in shown.shown
    user = scenario.attach_user(running)
    assert user.fetch() == HELLO
    assert scenario.proxy.failed_logons() == 0
    assert len(scenario.keyring.entries()) == 2
