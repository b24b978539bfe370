"""GNOME and KDE: their settings, and the same with TrayProxy as the system proxy."""

from pathlib import Path

import pytest

from tests.desktop.system_proxy.fake_gsettings import (
    DATABASE,
    DCONF,
    DEFAULTS,
    GSETTINGS,
    FakeGSettings,
)
from trayproxy.desktop.system_pac.base import SystemSetting, values_before
from trayproxy.desktop.system_pac.linux import gnome_setting, kde_setting
from trayproxy.desktop.system_proxy.base import ProxyKind, ProxySetting
from trayproxy.desktop.system_proxy.gsettings import GSettingsTarget
from trayproxy.desktop.system_proxy.kde import KdeTarget
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import ProxyScheme, Upstream
from trayproxy.system_settings.apply import TargetChange, apply
from trayproxy.system_settings.entries import Change, SettingsTarget
from trayproxy.system_settings.journal import Journal, JournalFile

PROXY = Upstream("proxy.example", 8080)
SCRIPT = PacSource(PacKind.URL, "http://pac.example/x.pac")
WPAD = PacSource(PacKind.WPAD)
OURS = (
    ProxySetting("127.0.0.1", 3128, "http://127.0.0.1:3128/4f1c.pac"),
    ProxySetting("127.0.0.1", 3128, "http://127.0.0.1:3128/4f1c.pac", uses_pac=True),
)
AUTO = {"mode": "'auto'", "autoconfig-url": "'http://pac.example/x.pac'"}
MANUAL = {
    "mode": "'manual'",
    "http host": "'proxy.example'",
    "https host": "'proxy.example'",
    "https port": "8080",
    "ignore-hosts": "['localhost', \"it's\", '*.corp.example', '10.0.0.0/8']",
}
# Without dconf, an administrator's default of this list cannot be replaced by that of the schema.
SITE_MANUAL = {key: value for key, value in MANUAL.items() if key != "ignore-hosts"}


@pytest.fixture
def file(tmp_path: Path) -> JournalFile:
    return JournalFile(tmp_path / "journal")


def turn_on(
    file: JournalFile, target: GSettingsTarget | KdeTarget, setting: ProxySetting
) -> Journal:
    change = TargetChange(target, target.read(), target.wanted(setting, target.read()).values)
    apply(file, [change], lambda records: Journal(1, "", 0.0, records))
    journal = file.load()
    assert journal is not None
    return journal


def source_of(values: dict[str, str]) -> PacSource | None:
    return gnome_setting(DEFAULTS | values).source


def test_a_script_detection_and_no_proxy_of_gnome() -> None:
    assert source_of(AUTO) == SCRIPT
    assert source_of({"mode": "'auto'"}) == WPAD
    assert gnome_setting(DEFAULTS) == SystemSetting(origin="GNOME")
    assert gnome_setting(DEFAULTS | {"mode": "uint32 7"}) == SystemSetting(origin="GNOME")


def test_the_addresses_of_gnome() -> None:
    setting = gnome_setting(DEFAULTS | MANUAL)
    assert (setting.kind, setting.http, setting.https) == (ProxyKind.MANUAL, PROXY, PROXY)
    assert setting.bypass == ("localhost", "it's", "*.corp.example", "10.0.0.0/8")
    only_http = gnome_setting(DEFAULTS | MANUAL | {"https host": "''", "ignore-hosts": "@as []"})
    assert (only_http.http, only_http.https, only_http.bypass) == (PROXY, None, ())
    socks = {"mode": "'manual'", "socks host": "'socks.example'", "socks port": "1080"}
    found = gnome_setting(DEFAULTS | socks)
    assert found.http == found.https == Upstream("socks.example", 1080, ProxyScheme.SOCKS5)


@pytest.mark.parametrize("ours", OURS)
@pytest.mark.parametrize("dconf", [DCONF, None])
@pytest.mark.parametrize(
    ("site", "user"),
    [
        ({}, AUTO),
        ({}, MANUAL),
        ({}, {}),
        (AUTO, {}),
        (SITE_MANUAL, {}),
        (SITE_MANUAL, AUTO),
        (AUTO, MANUAL),
    ],
)
def test_the_setting_of_gnome_is_that_from_before_trayproxy(
    file: JournalFile,
    site: dict[str, str],
    user: dict[str, str],
    dconf: str | None,
    ours: ProxySetting,
) -> None:
    fake = FakeGSettings(user)
    fake.site = dict(site)

    def target() -> GSettingsTarget:
        return GSettingsTarget(fake, GSETTINGS, dconf, DATABASE if dconf else "")

    def setting(journal: Journal | None) -> SystemSetting:
        own = target()
        return gnome_setting(own.with_defaults(values_before(journal, own)))

    before = setting(None)
    assert before == gnome_setting(DEFAULTS | site | user)
    journal = turn_on(file, target(), ours)
    assert setting(None) != before
    assert setting(journal) == before


def kioslaverc(*lines: str) -> str:
    return "\n".join(("[Proxy Settings]", *lines, ""))


KDE_MANUAL = kioslaverc(
    "ProxyType=1",
    "httpProxy=http://proxy.example 8080",
    "httpsProxy=http://user:secret@proxy.example:8080",
    "NoProxyFor=localhost,.corp.example 10.0.0.0/8",
)


def read(path: Path, site: Path, journal: Journal | None = None) -> SystemSetting:
    target = KdeTarget(path, lambda argv: pytest.fail("a command"), lambda name: None, [site])
    environ = {"MY_PROXY": "proxy.example:8080", "https_proxy": "proxy.example:8080"}
    return kde_setting(target.with_defaults(values_before(journal, target)), environ)


@pytest.mark.parametrize(
    ("text", "kind", "source"),
    [
        (
            kioslaverc("ProxyType=2", "Proxy Config Script=http://pac.example/x.pac"),
            ProxyKind.PAC,
            SCRIPT,
        ),
        (
            kioslaverc("ProxyType=2", "Proxy Config Script=/etc/x.pac"),
            ProxyKind.PAC,
            PacSource(PacKind.FILE, "/etc/x.pac"),
        ),
        (kioslaverc("ProxyType=2"), ProxyKind.NONE, None),
        (kioslaverc("ProxyType=3"), ProxyKind.DETECT, WPAD),
        (kioslaverc("ProxyType=4", "httpProxy=MY_PROXY"), ProxyKind.MANUAL, None),
        (kioslaverc("ProxyType=0", "httpProxy=http://x 80"), ProxyKind.NONE, None),
        (KDE_MANUAL, ProxyKind.MANUAL, None),
        ("", ProxyKind.NONE, None),
    ],
)
@pytest.mark.parametrize("ours", OURS)
def test_the_setting_of_kde_is_that_from_before_trayproxy(
    tmp_path: Path,
    file: JournalFile,
    text: str,
    kind: ProxyKind,
    source: PacSource | None,
    ours: ProxySetting,
) -> None:
    path, site = tmp_path / "kioslaverc", tmp_path / "site"
    path.write_text(text)
    before = read(path, site)
    assert (before.kind, before.source, before.origin) == (kind, source, before.origin)
    if kind is ProxyKind.MANUAL:
        assert (before.http, before.https) == (PROXY, PROXY)
    if text == KDE_MANUAL:
        rules = ("localhost", ".localhost", "corp.example", ".corp.example", "10.0.0.0/8")
        assert before.bypass == rules
    target = KdeTarget(path, lambda argv: pytest.fail("a command"), lambda name: None)
    journal = turn_on(file, target, ours)
    assert read(path, site) != before
    assert read(path, site, journal) == before


def test_reversed_exceptions_of_kde_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "kioslaverc"
    path.write_text(f"{KDE_MANUAL}ReversedException=true\n")
    assert read(path, tmp_path / "site").bypass == ()


def test_a_socks_proxy_of_kde_is_for_all_urls(tmp_path: Path) -> None:
    path = tmp_path / "kioslaverc"
    path.write_text(kioslaverc("ProxyType=1", "httpProxy=", "socksProxy=socks://s.example 1080"))
    setting = read(path, tmp_path / "site")
    assert setting.http == setting.https == Upstream("s.example", 1080, ProxyScheme.SOCKS5)


def test_the_administrators_defaults_of_kde_count(tmp_path: Path, file: JournalFile) -> None:
    path, site = tmp_path / "kioslaverc", tmp_path / "site"
    site.write_text(kioslaverc("ProxyType=2", "Proxy Config Script=http://pac.example/x.pac"))
    assert read(path, site).source == SCRIPT
    path.write_text(kioslaverc("ProxyType=0"))
    assert read(path, site).kind is ProxyKind.NONE


def test_what_another_program_has_changed_since_counts(file: JournalFile) -> None:
    fake = FakeGSettings(MANUAL)
    target = GSettingsTarget(fake, GSETTINGS, DCONF, DATABASE)
    journal = turn_on(file, target, OURS[0])
    target.write([Change("autoconfig-url", AUTO["autoconfig-url"]), Change("mode", "'auto'")])
    assert gnome_setting(target.with_defaults(values_before(journal, target))).source == SCRIPT


def test_a_target_that_trayproxy_has_not_changed(file: JournalFile) -> None:
    fake = FakeGSettings(AUTO)
    target: SettingsTarget = GSettingsTarget(fake, GSETTINGS, DCONF, DATABASE)
    journal = Journal(1, "", 0.0, ())
    assert values_before(journal, target) == target.read()
