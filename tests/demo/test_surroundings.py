import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dconf_session import dconf_session
from tests.support.processes import Home
from tests.support.values import upstream_of
from trayproxy.demo.company_network import CompanyNetwork, company_network
from trayproxy.demo.main import play
from trayproxy.demo.surroundings import (
    NO_KEYRING,
    SurroundingsError,
    TemporaryHome,
    isolated_environment,
    profiles,
    service,
    temporary_home,
)
from trayproxy.demo.system_settings import (
    changed_stores,
    desktop_folder,
    own_settings,
    proxy_port,
    use_proxy,
)
from trayproxy.desktop.system_proxy import linux
from trayproxy.desktop.system_proxy.private_store import private_store
from trayproxy.profiles.profile import SignIn
from trayproxy.system_settings.entries import Change, TargetError


@pytest.fixture
def network() -> Iterator[CompanyNetwork]:
    with company_network(lambda _: None) as running:
        yield running


def test_the_environment_excludes_the_users_settings_and_keyring(tmp_path: Path) -> None:
    inherited = {"PATH": "/bin", "TRAYPROXY_HOME": "/home/me", "PYTHON_KEYRING_BACKEND": "mine"}
    assert isolated_environment(inherited, tmp_path) == {
        "PATH": "/bin",
        "TRAYPROXY_HOME": str(tmp_path),
        "PYTHON_KEYRING_BACKEND": NO_KEYRING,
    }


def test_the_environment_has_no_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("https_proxy", "http://me:secret@elsewhere")
    names = TemporaryHome(tmp_path).environment()
    assert not [name for name in names if name.lower().endswith("_proxy")]


def test_the_temporary_home_is_removed() -> None:
    with temporary_home() as made:
        assert made.folder.is_dir()
        assert all(made.folder.resolve() in folder.parents for folder in (made.paths.config,))
    assert not made.folder.exists()


def test_the_profiles_use_the_two_proxies(network: CompanyNetwork) -> None:
    first, second = profiles(network)
    assert str(first.upstream) == network.url
    assert (first.user, first.sign_in) == (network.login.user, SignIn.PASSWORD)
    assert (upstream_of(second).port, second.sign_in) == (network.ports.lab, SignIn.NONE)


def test_a_failed_start_of_the_service_is_reported_with_its_output(tmp_path: Path) -> None:
    made = TemporaryHome(tmp_path)
    with (
        service(made, terminal=False),
        pytest.raises(SurroundingsError, match=r"ended with code 1\. .*already running"),
        service(made, terminal=False),
    ):
        pass


def test_a_failed_start_of_the_service_fails_the_demonstration(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    lines: list[str] = []
    assert play(lines.append) == 1
    assert lines[-1].startswith("  FAILED  TrayProxy ended with code 1")


def test_the_private_settings_exclude_those_of_the_user(place: Home, tmp_path: Path) -> None:
    with dconf_session(place) as session:
        dump = session.dump()
        environ = {**session.environment, **private_store(desktop_folder(tmp_path))}
        targets = linux.proxy_targets(lambda: False, environ)
        with pytest.raises(TargetError, match=r"No (such schema|schemas installed)"):
            targets.optional[0].read()
        use_proxy(tmp_path, 1)
        [kde] = targets.required
        kde.write([Change("httpProxy", "=http://127.0.0.1 2")])
        assert proxy_port(tmp_path) == 2
        assert session.dump() == dump
        assert not Path(session.environment["XDG_CONFIG_HOME"], "kioslaverc").exists()


def test_a_change_of_the_users_own_settings_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    before = own_settings()
    assert changed_stores(before, own_settings()) == ""
    (tmp_path / "kioslaverc").write_text("[Proxy Settings]\nProxyType=4\n", "utf-8")
    assert changed_stores(before, own_settings()) == "KDE"
