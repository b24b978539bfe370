"""The settings of GNOME, with fakes of gsettings and dconf."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.desktop.system_proxy.crash import crash_after, is_crashed
from tests.desktop.system_proxy.fake_gsettings import (
    DATABASE,
    DCONF,
    DEFAULTS,
    GSETTINGS,
    FakeGSettings,
)
from tests.desktop.system_proxy.turning_on import turn_on
from trayproxy.desktop.system_proxy.base import ProxyKind, ProxySetting, ProxyView
from trayproxy.desktop.system_proxy.gsettings import (
    KEYS,
    UNITS,
    GSettingsTarget,
    find_gsettings,
    ignore_hosts,
    parse_dump,
    quote,
    unquote,
    user_database,
)
from trayproxy.service.system_proxy.bypass_rules import bypass_rules
from trayproxy.system_settings.apply import NotAppliedError
from trayproxy.system_settings.entries import Change, SettingsTarget, TargetError, Value
from trayproxy.system_settings.journal import JournalFile
from trayproxy.system_settings.restore import restore

URL = "http://127.0.0.1:3128/proxy.pac"
RULES = bypass_rules(("*.corp.example", "<local>", "10.0.0.0/8:80"))
MANUAL = ProxySetting("127.0.0.1", 3128, URL, bypass=RULES)
PAC = ProxySetting("127.0.0.1", 3128, URL, uses_pac=True)
UNSET: dict[str, Value] = dict.fromkeys(KEYS)
COMPANY = {
    "mode": "'manual'",
    "http host": "'proxy.corp.example'",
    "http port": "8080",
    "http use-authentication": "true",
    "https host": "'proxy.corp.example'",
    "https port": "8080",
    "ignore-hosts": "@as []",
    "use-same-proxy": "false",
}


def target_of(fake: FakeGSettings, *, dconf: bool = True, site: bool = False) -> GSettingsTarget:
    return GSettingsTarget(fake, GSETTINGS, DCONF if dconf else None, DATABASE if site else "")


def finder(target: SettingsTarget) -> Callable[[str], SettingsTarget]:
    return lambda name: {target.name: target}[name]


# --- Reading -------------------------------------------------------------------------------------


def test_values_that_the_user_has_not_set_are_unset() -> None:
    assert target_of(FakeGSettings()).read() == UNSET
    user = {"http host": "''", "http port": "8080", "mode": "'none'"}
    assert target_of(FakeGSettings(user)).read() == UNSET | user


def test_without_dconf_defaults_count_as_unset(file: JournalFile) -> None:
    fake = FakeGSettings({"http host": "''", "http port": "8081", "mode": "'none'"})
    target = target_of(fake, dconf=False)
    assert target.read() == {key: DEFAULTS[key] for key in KEYS} | {"http port": "8081"}
    turn_on(file, target, MANUAL)
    assert target.describe(target.read()) == ProxyView(ProxyKind.MANUAL, "127.0.0.1:3128")
    restore(file, finder(target))
    assert fake.user == {"http port": "8081"}


def test_defaults_of_an_administrator_count_as_unset() -> None:
    fake = FakeGSettings({"http host": "'mine'"})
    fake.site = {"http host": "'proxy'", "mode": "'manual'", "autoconfig-url": "'http://pac'"}
    target = target_of(fake, site=True)
    assert target.read() == UNSET | {"http host": "'mine'"}
    assert target.describe(target.read()) == ProxyView(ProxyKind.MANUAL, "mine:8080")
    fake.site["mode"] = "'auto'"
    assert target.describe(target.read()) == ProxyView(ProxyKind.PAC, "http://pac")


@pytest.mark.parametrize("dconf", [True, False])
def test_without_the_schema_nothing_is_read(dconf: bool) -> None:
    fake = FakeGSettings()
    fake.has_schema = False
    with pytest.raises(TargetError, match=r"gsettings: No such schema “org\.gnome\.system\.proxy”"):
        target_of(fake, dconf=dconf).read()
    fake.has_schema = True
    fake.missing = {"https port"}
    with pytest.raises(TargetError, match="has no key “https port”"):
        target_of(fake, dconf=dconf).read()


def test_without_gsettings_nothing_is_read_or_written() -> None:
    target = GSettingsTarget(FakeGSettings(), None, DCONF)
    with pytest.raises(TargetError, match="gsettings is not installed"):
        target.read()
    with pytest.raises(TargetError, match="gsettings is not installed"):
        target.write([Change("mode", "'none'")])
    assert not target.is_managed


def test_a_dump_is_read_octet_for_octet() -> None:
    text = "[/]\nautoconfig-url='http://x/?a=[b]'\nmode='auto'\n\n[http]\nhost='a\u2028b'\n"
    assert parse_dump(text) == {
        "autoconfig-url": "'http://x/?a=[b]'",
        "mode": "'auto'",
        "http host": "'a\u2028b'",
    }


@pytest.mark.parametrize("key", KEYS)
def test_one_locked_key_makes_the_settings_managed(key: str) -> None:
    fake = FakeGSettings()
    assert not target_of(fake).is_managed
    fake.locked = {key}
    assert target_of(fake).is_managed


def test_the_gsettings_of_the_system_comes_first() -> None:
    paths = {"/usr/bin/gsettings": "/usr/bin/gsettings", "gsettings": "/opt/conda/bin/gsettings"}
    assert find_gsettings(paths.get) == "/usr/bin/gsettings"
    del paths["/usr/bin/gsettings"]
    assert find_gsettings(paths.get) == "/opt/conda/bin/gsettings"
    del paths["gsettings"]
    assert find_gsettings(paths.get) is None


PROFILE = "# Our company\nuser-db:staff # the user\nsystem-db:site\n"
USUAL_PROFILES = (
    "/run/dconf/user/1000",
    "/run/user/1000/dconf.profile",
    "/etc/dconf/profile/user",
    "/opt/share/dconf/profile/user",
)


@pytest.mark.parametrize("path", USUAL_PROFILES)
def test_the_profile_names_the_database_of_the_user(path: str) -> None:
    environ = {"XDG_RUNTIME_DIR": "/run/user/1000", "XDG_DATA_DIRS": "/usr/share:/opt/share"}
    assert user_database(environ, {path: PROFILE}.get) == "user-db:staff"
    assert (
        user_database(environ, {path: "service-db:keyfile/user"}.get) == "service-db:keyfile/user"
    )
    assert user_database(environ, {path: "system-db:site"}.get) == "user-db:user"
    assert user_database(environ, {f"{path}s": PROFILE}.get) == ""


def test_the_first_profile_counts() -> None:
    environ = {"XDG_RUNTIME_DIR": "/run/user/1000", "XDG_DATA_DIRS": "/opt/share"}
    for index, path in enumerate(USUAL_PROFILES):
        later = dict.fromkeys(USUAL_PROFILES[index + 1 :], "user-db:later")
        assert user_database(environ, {path: PROFILE, **later}.get) == "user-db:staff"


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("/x/profile", "/x/profile"),
        ("site", "/etc/dconf/profile/site"),
        ("site", "/usr/share/dconf/profile/site"),
        ("site", "/run/dconf/user/0"),
    ],
)
def test_a_profile_from_the_environment(name: str, path: str) -> None:
    files = {path: PROFILE, "/etc/dconf/profile/user": "user-db:user"}
    assert user_database({"DCONF_PROFILE": name}, files.get) == "user-db:staff"


# --- The new values ------------------------------------------------------------------------------


def test_manual_values() -> None:
    wanted = target_of(FakeGSettings()).wanted(MANUAL, {})
    assert wanted.values == {
        "http host": "'127.0.0.1'",
        "http port": "3128",
        "http use-authentication": "false",
        "https host": "'127.0.0.1'",
        "https port": "3128",
        "ignore-hosts": "['localhost', '127.0.0.0/8', '::1', '*.corp.example', '<local>']",
        "mode": "'manual'",
    }
    assert wanted.inexpressible == ("<local>", "10.0.0.0/8:80")


def test_pac_values() -> None:
    setting = replace(MANUAL, uses_pac=True)
    wanted = target_of(FakeGSettings()).wanted(setting, {})
    assert wanted.values == {
        "autoconfig-url": "'http://127.0.0.1:3128/proxy.pac'",
        "ignore-hosts": "['localhost', '127.0.0.0/8', '::1', '*.corp.example', '<local>']",
        "mode": "'auto'",
    }
    assert wanted.inexpressible == ()


@pytest.mark.parametrize(
    ("rule", "entry", "is_understood"),
    [
        ("intranet", "intranet", True),
        (".corp.example", "*.corp.example", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("fd00::1", "fd00::1/128", True),
        ("10.1.2.3/8", "10.0.0.0/8", True),
        ("intranet:80", "intranet:80", False),
        ("*.corp.example:80", "*.corp.example:80", False),
        ("10.1.2.3:80", "10.1.2.3:80", False),
        ("[fd00::1]:80", "[fd00::1]:80", False),
        ("dev-*.corp.example", "dev-*.corp.example", False),
        ("*", "*", False),
        ("<local>", "<local>", False),
        ("<local>:80", None, False),
        ("10.0.0.0/8:80", None, False),
    ],
)
def test_bypass_rules(rule: str, entry: str | None, is_understood: bool) -> None:
    found = ignore_hosts(bypass_rules([rule]))
    assert found.entries == (() if entry is None else (entry,))
    assert found.inexpressible == (() if is_understood else (rule,))


@given(st.text())
def test_quoted_strings_are_read_back(text: str) -> None:
    assert unquote(quote(text)) == text


@pytest.mark.parametrize(
    ("text", "string"),
    [
        (r"'a\nb\u00e9\U0001f600'", "a\nbé😀"),
        ('"it\'s"', "it's"),
        ("3128", ""),
        ("'", ""),
        ("'a", ""),
        (r"'\Uffffffff'", "\ufffd"),
    ],
)
def test_strings_of_gvariant(text: str, string: str) -> None:
    assert unquote(text) == string


# --- The meaning ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("user", "view"),
    [
        ({}, ProxyView(ProxyKind.NONE)),
        ({"http host": "'a'"}, ProxyView(ProxyKind.NONE)),
        ({"mode": "'auto'"}, ProxyView(ProxyKind.DETECT)),
        (
            {"mode": "'auto'", "autoconfig-url": "'http://pac'"},
            ProxyView(ProxyKind.PAC, "http://pac"),
        ),
        ({"mode": "'manual'"}, ProxyView(ProxyKind.MANUAL)),
        ({"mode": "'manual'", "http host": "'proxy'"}, ProxyView(ProxyKind.MANUAL, "proxy:8080")),
        (COMPANY, ProxyView(ProxyKind.MANUAL, "proxy.corp.example:8080")),
        (
            {**COMPANY, "https host": "'::1'"},
            ProxyView(ProxyKind.MANUAL, "proxy.corp.example:8080, [::1]:8080"),
        ),
        (
            {"mode": "'manual'", "https host": "'a'", "http host": "'b'", "http port": "0"},
            ProxyView(ProxyKind.MANUAL),
        ),
        ({"mode": "'manual'", "https host": "3"}, ProxyView(ProxyKind.MANUAL)),
    ],
)
def test_descriptions(user: dict[str, str], view: ProxyView) -> None:
    target = target_of(FakeGSettings(user))
    assert target.describe(target.read()) == view


@pytest.mark.parametrize("setting", [MANUAL, PAC])
def test_the_own_values_are_described(setting: ProxySetting) -> None:
    target = target_of(FakeGSettings())
    view = target.describe(target.wanted(setting, {}).values)
    if setting.uses_pac:
        assert view == ProxyView(ProxyKind.PAC, setting.pac_url)
    else:
        assert view == ProxyView(ProxyKind.MANUAL, "127.0.0.1:3128")


# --- Changes and restorations --------------------------------------------------------------------


def changed_keys(fake: FakeGSettings) -> list[str]:
    """Return the schema and key of each change, in order."""
    return [" ".join(call[2:4]) for call in fake.calls if call[1] in ("set", "reset")]


def test_the_mode_is_changed_last_and_restored_first(file: JournalFile) -> None:
    fake = FakeGSettings(COMPANY)
    target = target_of(fake)
    turn_on(file, target, MANUAL)
    assert (
        changed_keys(fake)[-1] == "org.gnome.system.proxy mode"
        or fake.user["mode"] == (COMPANY["mode"])
    )
    fake = FakeGSettings()
    turn_on(JournalFile(file.path.with_name("other")), target_of(fake), MANUAL)
    assert changed_keys(fake)[-1] == "org.gnome.system.proxy mode"
    fake.calls.clear()
    restore(JournalFile(file.path.with_name("other")), finder(target_of(fake)))
    assert changed_keys(fake)[0] == "org.gnome.system.proxy mode"
    assert fake.user == {}


@pytest.mark.parametrize("user", [{}, COMPANY, dict(DEFAULTS)])
@pytest.mark.parametrize("setting", [MANUAL, PAC])
@pytest.mark.parametrize("site", [True, False])
def test_unset_values_are_unset_again(
    file: JournalFile, user: dict[str, str], setting: ProxySetting, site: bool
) -> None:
    fake = FakeGSettings(user)
    fake.site = {"mode": "'auto'", "autoconfig-url": "'http://pac'"} if site else {}
    target = target_of(fake, site=site)
    turn_on(file, target, setting)
    assert fake.user != user
    restore(file, finder(target))
    assert fake.user == user
    assert file.load() is None


@pytest.mark.parametrize("key", [key for key in KEYS if key != "autoconfig-url"])
@pytest.mark.parametrize("kind", ["locked", "ignored"])
@pytest.mark.parametrize("user", [{}, COMPANY | {"http port": "80", "mode": "'auto'"}])
def test_after_a_refused_change_nothing_is_changed(
    file: JournalFile, key: str, kind: str, user: dict[str, str]
) -> None:
    fake = FakeGSettings(user)
    getattr(fake, kind).add(key)
    with pytest.raises(NotAppliedError, match=key) as failure:
        turn_on(file, target_of(fake), MANUAL)
    assert failure.value.is_rolled_back
    assert fake.user == user
    assert file.load() is None


@pytest.mark.parametrize("user", [{}, COMPANY])
@pytest.mark.parametrize("setting", [MANUAL, PAC])
def test_after_a_crash_between_any_two_writes_the_values_return(
    tmp_path: Path, user: dict[str, str], setting: ProxySetting
) -> None:
    for count in range(len(KEYS) + 1):
        file = JournalFile(tmp_path / f"{count}")
        fake = FakeGSettings(user)
        target = target_of(fake)
        fake.before_write = crash_after(count)
        is_crashed(partial(turn_on, file, target, setting))
        for again in range(len(KEYS) + 1):
            fake.before_write = crash_after(again)
            is_crashed(partial(restore, file, finder(target)))
        assert fake.user == user
        assert file.load() is None


def test_a_value_of_another_type_is_restored_with_dconf(file: JournalFile) -> None:
    fake = FakeGSettings({"http port": "'8080'"})
    target = target_of(fake)
    turn_on(file, target, MANUAL)
    assert fake.user["http port"] == "3128"
    assert restore(file, finder(target)).failures == ()
    assert fake.user == {"http port": "'8080'"}


def test_the_login_of_the_old_proxy_is_not_sent_to_the_proxy_of_another_program(
    file: JournalFile,
) -> None:
    fake = FakeGSettings(COMPANY)
    target = target_of(fake)
    turn_on(file, target, MANUAL)
    fake.user |= {"http host": "'elsewhere.example'", "http port": "80"}
    assert restore(file, finder(target)).left == (("gsettings", "http"),)
    assert fake.user["http use-authentication"] == "false"
    assert fake.user["mode"] == "'manual'"
    assert fake.user["https host"] == COMPANY["https host"]


def test_the_units_have_different_names_and_keys() -> None:
    assert len({unit.name for unit in UNITS}) == len(UNITS)
    assert len(set(KEYS)) == len(KEYS)
    names = {unit.name for unit in UNITS}
    assert all(name in names for unit in UNITS for name in unit.used_by)
