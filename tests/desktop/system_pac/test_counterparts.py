"""The system's own setting with real dconf and gsettings, and the file of KDE."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.support.dconf_session import DconfSession, dconf_session
from tests.support.processes import home
from trayproxy.desktop.system_pac.base import SystemSetting
from trayproxy.desktop.system_pac.factory import read_system_login, read_system_setting
from trayproxy.desktop.system_proxy import linux
from trayproxy.desktop.system_proxy.base import ProxyKind, ProxySetting
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import ProxyScheme, Upstream
from trayproxy.system_settings.apply import TargetChange, apply
from trayproxy.system_settings.entries import TargetError
from trayproxy.system_settings.journal import Journal, JournalFile

OURS = ProxySetting("127.0.0.1", 3128, "http://127.0.0.1:3128/4f1c.pac", uses_pac=True)
OWN = [("127.0.0.1", 3128)]
GNOME, KDE, XFCE = ({"XDG_CURRENT_DESKTOP": name} for name in ("GNOME", "KDE", "XFCE"))
SCRIPT = PacSource(PacKind.URL, "http://pac.example/x.pac")
AUTO = {
    "/system/proxy/mode": "'auto'",
    "/system/proxy/autoconfig-url": "'http://pac.example/x.pac'",
}
MANUAL = {
    "/system/proxy/mode": "'manual'",
    "/system/proxy/ignore-hosts": "['localhost', '*.corp.example']",
    "/system/proxy/http/host": "'proxy.example'",
    "/system/proxy/http/port": "8080",
    "/system/proxy/socks/host": "'socks.example'",
    "/system/proxy/socks/port": "1080",
}


@pytest.fixture(scope="module")
def session() -> Iterator[DconfSession]:
    with home() as place, dconf_session(place) as running:
        yield running


@pytest.fixture
def file(session: DconfSession, tmp_path: Path) -> Iterator[JournalFile]:
    yield JournalFile(tmp_path / "journal")
    session.output("dconf", "reset", "-f", "/")


def turn_on(file: JournalFile, name: str, environ: Mapping[str, str]) -> None:
    target = linux.find_target(name, environ)
    change = TargetChange(target, target.read(), target.wanted(OURS, {}).values)
    apply(file, [change], lambda records: Journal(1, "", 1.0, records))


def read(file: JournalFile, environ: Mapping[str, str], **more: str) -> SystemSetting:
    return read_system_setting(file.path, OWN, {**environ, **more})


def test_the_setting_of_gnome(session: DconfSession, file: JournalFile) -> None:
    environ = {**session.environment, **GNOME}
    assert read(file, environ) == SystemSetting(origin="GNOME")
    for values, kind in ((AUTO, ProxyKind.PAC), (MANUAL, ProxyKind.MANUAL)):
        session.load(values)
        before = read(file, environ)
        assert before.kind is kind
        turn_on(file, "gsettings", environ)
        assert read(file, environ) == before
        # After a crash that has lost the journal, TrayProxy does not use itself.
        file.remove()
        assert read(file, environ).reason == "it is the address of TrayProxy itself"
        session.output("dconf", "reset", "-f", "/")
    assert before.http == Upstream("proxy.example", 8080)
    assert before.https == Upstream("socks.example", 1080, ProxyScheme.SOCKS5)
    assert before.bypass == ("localhost", "*.corp.example")


def test_the_login_of_gnome_is_read_as_it_was_before_trayproxy(
    session: DconfSession, file: JournalFile
) -> None:
    environ = {**session.environment, **GNOME}
    assert read_system_login(file.path, environ) == ("", "")
    login = {
        "/system/proxy/http/use-authentication": "true",
        "/system/proxy/http/authentication-user": "'CORP\\\\jdoe'",
        "/system/proxy/http/authentication-password": "'canary'",
    }
    session.load(MANUAL | login)
    assert read_system_login(file.path, environ) == ("CORP\\jdoe", "canary")
    turn_on(file, "gsettings", environ)
    assert read_system_login(file.path, environ) == ("CORP\\jdoe", "canary")


def test_the_administrators_script_counts_while_trayproxy_is_the_system_proxy(
    session: DconfSession, file: JournalFile, tmp_path: Path
) -> None:
    (tmp_path / "site.d").mkdir()
    (tmp_path / "site.d" / "00").write_text(
        "[system/proxy]\nmode='auto'\nautoconfig-url='http://pac.example/x.pac'\n", "utf-8"
    )
    profile = tmp_path / "profile"
    profile.write_text(f"user-db:user\nfile-db:{tmp_path}/site\n", "utf-8")
    session.output("dconf", "compile", tmp_path / "site", tmp_path / "site.d")
    environ = {**session.environment, **GNOME, "DCONF_PROFILE": str(profile)}
    assert read(file, environ).source == SCRIPT
    turn_on(file, "gsettings", environ)
    assert read(file, environ).source == SCRIPT


def test_the_setting_of_kde(session: DconfSession, file: JournalFile) -> None:
    environ = {**session.environment, **KDE}
    path = Path(session.environment["XDG_CONFIG_HOME"], "kioslaverc")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        "[Proxy Settings]\nProxyType=2\nProxy Config Script=http://pac.example/x.pac\n", "utf-8"
    )
    assert read(file, environ).source == SCRIPT
    turn_on(file, "kioslaverc", environ)
    assert read(file, environ).source == SCRIPT
    path.unlink()
    file.remove()
    assert read(file, environ).kind is ProxyKind.NONE


def test_other_desktops_use_variables(session: DconfSession, file: JournalFile) -> None:
    environ = {**session.environment, **XFCE}
    assert read(file, environ).kind is ProxyKind.NONE
    assert read(file, environ, http_proxy="proxy.example:8080").http == Upstream(
        "proxy.example", 8080
    )
    own = read(file, environ, http_proxy="http://127.0.0.1:3128")
    assert (own.kind, own.reason) == (ProxyKind.NONE, "it is the address of TrayProxy itself")
    session.load(AUTO)
    assert read(file, environ).source == SCRIPT


def test_a_damaged_journal_is_an_error(session: DconfSession, file: JournalFile) -> None:
    file.path.write_text("{", "utf-8")
    with pytest.raises(TargetError, match="the record of the settings from before TrayProxy"):
        read(file, {**session.environment, **GNOME})
