"""The targets of Linux with real dconf, gsettings, KConfig and libproxy."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from itertools import count
from pathlib import Path

import pytest
from jeepney import MatchRule, message_bus
from jeepney.io.blocking import Proxy, open_dbus_connection

from tests.desktop.system_proxy.crash import crash_after, crashing_files, is_crashed
from tests.desktop.system_proxy.turning_on import turn_on, turn_on_all
from tests.support.dconf_session import DconfSession, dconf_session
from tests.support.process_output import PATIENCE
from tests.support.processes import Home, home
from trayproxy.desktop.commands import CommandResult, Run, command_runner
from trayproxy.desktop.system_proxy import linux
from trayproxy.desktop.system_proxy.base import ProxyKind, ProxySetting, ProxyTarget, ProxyView
from trayproxy.desktop.system_proxy.gsettings import GSettingsTarget, find_gsettings
from trayproxy.desktop.system_proxy.kde import KdeTarget
from trayproxy.desktop.system_proxy.linux_commands import command_finder, session_environment
from trayproxy.service.system_proxy.bypass_rules import bypass_rules
from trayproxy.system_settings.apply import NotAppliedError
from trayproxy.system_settings.entries import Change, TargetError
from trayproxy.system_settings.journal import JournalFile
from trayproxy.system_settings.restore import restore

URL = "http://127.0.0.1:3128/token/proxy.pac"
MANUAL = ProxySetting(
    "127.0.0.1",
    3128,
    URL,
    bypass=bypass_rules(("*.corp.example", "10.0.0.0/8", "192.0.2.7", "intranet")),
)
PAC = ProxySetting("127.0.0.1", 3128, URL, uses_pac=True)
OURS = "http://127.0.0.1:3128"
GNOME = {"XDG_CURRENT_DESKTOP": "GNOME", "DESKTOP_SESSION": "gnome"}
KDE = {"XDG_CURRENT_DESKTOP": "KDE", "DESKTOP_SESSION": "plasma", "KDE_FULL_SESSION": "true"}
"""libproxy 0.4 recognises a desktop by its own variables, libproxy 0.5 by XDG_CURRENT_DESKTOP."""

COMPANY = {
    "/system/proxy/mode": "'manual'",
    "/system/proxy/ignore-hosts": "@as []",
    "/system/proxy/autoconfig-url": "'http://pac.example/über \\\\ \\'\\u2028'",
    "/system/proxy/use-same-proxy": "false",
    "/system/proxy/http/host": "'proxy.example'",
    "/system/proxy/http/port": "8080",
    "/system/proxy/http/use-authentication": "true",
    "/system/proxy/http/authentication-user": "'user'",
    "/system/proxy/http/authentication-password": "'secret'",
    "/system/proxy/https/host": "'proxy.example'",
    "/system/proxy/https/port": "8080",
    "/org/gnome/desktop/interface/font-name": "'Sans 11'",
}
EXPLICIT_DEFAULTS = {
    "/system/proxy/mode": "'none'",
    "/system/proxy/http/port": "8080",
    "/system/proxy/ignore-hosts": "['localhost', '127.0.0.0/8', '::1']",
}
WRONG_TYPES = {"/system/proxy/http/port": "'8080'", "/system/proxy/mode": "uint32 7"}
Find = Callable[[str], ProxyTarget]

URLS = {
    "http://www.example/": OURS,
    "https://www.example/": OURS,
    "http://wiki.corp.example/": "direct://",
    "https://wiki.corp.example/": "direct://",
    "http://10.9.8.7/": "direct://",
    "http://192.0.2.7/": "direct://",
    "http://192.0.2.8/": OURS,
    "http://localhost/": "direct://",
    "http://127.0.0.2:8000/": "direct://",
    "http://localhost.corp.net/": OURS,
}
KIOSLAVERC = """\
ProxyUrlDisplayFlags=15

[Proxy Settings]
NoProxyFor=old.example
Proxy Config Script=
ProxyType=1
ReversedException=true
ftpProxy=ftp://proxy.example 8080
httpProxy=http://proxy.example 8080
httpsProxy=http://proxy.example 8080
socksProxy=
"""


@pytest.fixture(scope="module")
def session() -> Iterator[DconfSession]:
    with home() as place, dconf_session(place) as running:
        yield running


@pytest.fixture
def kioslaverc(session: DconfSession) -> Iterator[Path]:
    path = Path(session.environment["XDG_CONFIG_HOME"], "kioslaverc")
    yield path
    path.unlink(missing_ok=True)


@pytest.fixture(autouse=True)
def clean(session: DconfSession) -> Iterator[None]:
    yield
    session.output("dconf", "reset", "-f", "/")


@pytest.fixture
def find(session: DconfSession) -> Find:
    return lambda name: linux.find_target(name, session.environment)


# --- dconf and gsettings -------------------------------------------------------------------------


@pytest.mark.parametrize("before", [{}, COMPANY, EXPLICIT_DEFAULTS, WRONG_TYPES])
@pytest.mark.parametrize("setting", [MANUAL, PAC])
def test_dconf_is_restored_octet_for_octet(
    session: DconfSession,
    file: JournalFile,
    find: Find,
    before: Mapping[str, str],
    setting: ProxySetting,
) -> None:
    session.load(before)
    dump = session.dump()
    target = find("gsettings")
    turn_on(file, target, setting)
    view = target.describe(target.read())
    assert view.address == (URL if setting.uses_pac else "127.0.0.1:3128")
    assert session.dump() != dump
    assert restore(file, find).failures == ()
    assert session.dump() == dump
    assert not restore(file, find).had_journal


def test_programs_of_gnome_use_trayproxy(
    session: DconfSession, file: JournalFile, find: Find
) -> None:
    session.load(COMPANY)
    as_before = session.proxies(list(URLS), **GNOME)
    assert as_before[0] == "http://user:secret@proxy.example:8080"
    turn_on(file, find("gsettings"), MANUAL)
    # Without the login of the old proxy.
    assert session.proxies(list(URLS), **GNOME) == list(URLS.values())
    restore(file, find)
    assert session.proxies(list(URLS), **GNOME) == as_before


def test_after_a_power_cut_during_the_restoration_dconf_is_restored(
    session: DconfSession, file: JournalFile
) -> None:
    session.load(COMPANY)
    dump = session.dump()
    run = command_runner(session_environment(session.environment, "/nowhere"))
    for writes in count():
        turn_on(file, target_of(run), MANUAL)
        target = target_of(crashing(run, writes))
        has_crashed = is_crashed(partial(restore, file, {target.name: target}.__getitem__))
        restore(file, lambda name: target_of(run))
        assert session.dump() == dump
        assert file.load() is None
        if not has_crashed:
            assert writes > 1
            return


@pytest.mark.parametrize("before", [{}, COMPANY, EXPLICIT_DEFAULTS])
@pytest.mark.parametrize("setting", [MANUAL, PAC])
def test_after_a_power_cut_between_any_two_writes_dconf_is_restored(
    session: DconfSession, tmp_path: Path, before: Mapping[str, str], setting: ProxySetting
) -> None:
    session.load(before)
    dump = session.dump()
    run = command_runner(session_environment(session.environment, "/nowhere"))
    for writes in count():
        file = JournalFile(tmp_path / f"journal-{writes}")
        target = target_of(crashing(run, writes))
        has_crashed = is_crashed(partial(turn_on, file, target, setting))
        # The restoration crashes after its first write as well, and is then started again.
        is_crashed(partial(restore, file, {target.name: target_of(crashing(run, 1))}.__getitem__))
        restore(file, {target.name: target_of(run)}.__getitem__)
        assert session.dump() == dump
        assert file.load() is None
        if not has_crashed:
            assert writes > 1
            return


def target_of(run: Run) -> GSettingsTarget:
    return GSettingsTarget(run, "/usr/bin/gsettings", "/usr/bin/dconf")


def crashing(run: Run, writes: int) -> Run:
    """Return a function that runs commands until the process ends before a write.

    Args:
        run: Runs a command.
        writes: The number of writes before the end.
    """
    step = crash_after(writes)

    def run_or_crash(argv: Sequence[str]) -> CommandResult:
        if argv[1] in ("set", "reset", "write"):
            step()
        return run(argv)

    return run_or_crash


def test_without_dconf_unset_values_are_unset_again(
    session: DconfSession, file: JournalFile
) -> None:
    run = command_runner(session_environment(session.environment, "/nowhere"))
    target = GSettingsTarget(run, "/usr/bin/gsettings", None)
    # A value that equals the default, as the port 8080, would be unset afterwards.
    for before in ({}, {**COMPANY, "/system/proxy/http/port": "8081"}):
        session.load(before)
        dump = session.dump()
        turn_on(file, target, MANUAL)
        assert session.proxies(["http://www.example/"], **GNOME) == [OURS]
        restore(file, lambda name: target)
        assert session.dump() == dump


def test_defaults_and_locks_of_an_administrator(
    session: DconfSession, file: JournalFile, tmp_path: Path
) -> None:
    folder = tmp_path / "site.d"
    (folder / "locks").mkdir(parents=True)
    (folder / "00").write_text(
        "[system/proxy]\nmode='auto'\nautoconfig-url='http://pac.example/'\n", encoding="utf-8"
    )
    profile = tmp_path / "profile"
    profile.write_text(f"user-db:user\nfile-db:{tmp_path}/site\n", encoding="utf-8")
    session.output("dconf", "compile", tmp_path / "site", folder)
    environ = {**session.environment, "DCONF_PROFILE": str(profile)}

    def find(name: str) -> ProxyTarget:
        return linux.find_target(name, environ)

    target = find("gsettings")
    assert set(target.read().values()) == {None}
    assert target.describe(target.read()) == ProxyView(ProxyKind.PAC, "http://pac.example/")
    assert not target.is_managed
    for setting in (MANUAL, PAC):
        turn_on(file, target, setting)
        restore(file, find)
        # Only the database of the user: `dconf dump` with the profile would not show a difference.
        assert session.dump() == ""
    (folder / "locks" / "00").write_text("/system/proxy/mode\n", encoding="utf-8")
    session.output("dconf", "compile", tmp_path / "site", folder)
    assert find("gsettings").is_managed
    with pytest.raises(NotAppliedError, match="gsettings refuses to change “mode”: The key is not"):
        turn_on(file, target, MANUAL)
    assert session.dump() == ""
    assert file.load() is None


def test_without_a_bus_nothing_is_reported_as_changed(
    session: DconfSession, file: JournalFile
) -> None:
    environ = {**session.environment, "DBUS_SESSION_BUS_ADDRESS": "unix:path=/nowhere/bus"}
    target = linux.find_target("gsettings", environ)
    with pytest.raises(NotAppliedError, match="does not keep its new value") as failure:
        turn_on(file, target, MANUAL)
    assert failure.value.is_rolled_back
    assert session.dump() == ""


def test_without_the_schema_the_reason_is_named(session: DconfSession, tmp_path: Path) -> None:
    environ = {**session.environment, "XDG_DATA_DIRS": str(tmp_path)}
    with pytest.raises(TargetError, match=r"^gsettings: No (such schema|schemas installed)"):
        linux.find_target("gsettings", environ).read()


def test_a_command_that_does_not_end_is_ended(session: DconfSession, tmp_path: Path) -> None:
    command = tmp_path / "gsettings"
    command.write_text("#!/bin/sh\nexec sleep 100\n", encoding="utf-8")
    command.chmod(0o755)
    run = command_runner(session.environment, 0.2)
    with pytest.raises(TargetError, match=r"gsettings does not end within 0\.2 s"):
        GSettingsTarget(run, str(command), None).read()
    with pytest.raises(TargetError, match="gone cannot be run: No such file"):
        run([str(tmp_path / "gone")])


def test_commands_are_found_by_path_and_by_name(tmp_path: Path) -> None:
    (tmp_path / "gsettings").touch(0o755)
    (tmp_path / "dconf").touch(0o644)
    (tmp_path / "dbus-send").mkdir()
    which = command_finder({"PATH": f"{tmp_path}:/usr/bin"})
    assert which("gsettings") == str(tmp_path / "gsettings")
    assert which("dconf") == "/usr/bin/dconf"
    assert which("dbus-send") == "/usr/bin/dbus-send"
    assert which("kwriteconfig9") is None
    assert find_gsettings(which) == "/usr/bin/gsettings"
    assert command_finder({})("gsettings") in ("/usr/bin/gsettings", "/bin/gsettings")


# --- kioslaverc ----------------------------------------------------------------------------------


def kwriteconfig(session: DconfSession, key: str, *value: str) -> None:
    group = ("--file", "kioslaverc", "--group", "Proxy Settings")
    session.output("kwriteconfig5", *group, "--key", key, *value)


def kreadconfig(session: DconfSession, key: str) -> str:
    group = ("--file", "kioslaverc", "--group", "Proxy Settings")
    return session.output("kreadconfig5", *group, "--key", key).rstrip("\n")


@pytest.fixture
def settings_of_kde(session: DconfSession, kioslaverc: Path) -> bytes:
    """Let KConfig write a file like that of the dialog of KDE; return its octets."""
    for line in KIOSLAVERC.splitlines():
        key, equals, value = line.partition("=")
        if equals and not key.startswith("ProxyUrl"):
            kwriteconfig(session, key, "--", value)
    return kioslaverc.read_bytes()


@pytest.mark.parametrize("setting", [MANUAL, PAC])
def test_kconfig_reads_the_written_values(
    session: DconfSession,
    kioslaverc: Path,
    settings_of_kde: bytes,
    file: JournalFile,
    find: Find,
    setting: ProxySetting,
) -> None:
    target = find("kioslaverc")
    turn_on(file, target, setting)
    for key, value in target.wanted(setting, {}).values.items():
        assert f"={kreadconfig(session, key)}" == value
    assert kreadconfig(session, "ftpProxy") == "ftp://proxy.example 8080"
    restore(file, find)
    assert kioslaverc.read_bytes() == settings_of_kde


def test_programs_of_kde_use_trayproxy(
    session: DconfSession, settings_of_kde: bytes, file: JournalFile, find: Find
) -> None:
    as_before = session.proxies(list(URLS), **KDE)
    turn_on(file, find("kioslaverc"), MANUAL)
    assert session.proxies(list(URLS), **KDE) == list(URLS.values())
    restore(file, find)
    assert session.proxies(list(URLS), **KDE) == as_before


def test_kde_saves_its_settings_in_between(
    session: DconfSession, kioslaverc: Path, settings_of_kde: bytes, file: JournalFile, find: Find
) -> None:
    kioslaverc.write_bytes(b"# by hand\n" + settings_of_kde)
    turn_on(file, find("kioslaverc"), MANUAL)
    kwriteconfig(session, "ftpProxy", "ftp://127.0.0.1 1")
    kwriteconfig(session, "ftpProxy", "ftp://proxy.example 8080")
    assert restore(file, find).left == ()
    # KConfig has removed the comment.
    assert kioslaverc.read_bytes() == settings_of_kde


def test_kconfig_removes_the_remaining_keys(
    session: DconfSession, kioslaverc: Path, file: JournalFile, find: Find
) -> None:
    kwriteconfig(session, "ProxyType", "1")
    kwriteconfig(session, "ProxyType", "--delete")
    left_by_kconfig = kioslaverc.read_bytes()
    kioslaverc.unlink()
    turn_on(file, find("kioslaverc"), MANUAL)
    restore(file, find)
    assert kioslaverc.read_bytes() == left_by_kconfig == b""


def test_defaults_of_an_administrator_in_kde(
    session: DconfSession, kioslaverc: Path, file: JournalFile, tmp_path: Path
) -> None:
    """`kwriteconfig5` would not write values that equal such a default."""
    site = "[Proxy Settings]\nProxyType=1\nReversedException=false\n"
    (tmp_path / "kioslaverc").write_text(site, encoding="utf-8")
    environ = {**session.environment, "XDG_CONFIG_DIRS": str(tmp_path)}

    def find(name: str) -> ProxyTarget:
        return linux.find_target(name, environ)

    target = find("kioslaverc")
    turn_on(file, target, MANUAL)
    assert target.describe(target.read()) == ProxyView(ProxyKind.MANUAL, "127.0.0.1:3128")
    restore(file, find)
    assert kioslaverc.read_bytes() == b""
    (tmp_path / "kioslaverc").write_text(site.replace("ProxyType", "ProxyType[$i]"), "utf-8")
    assert target.is_managed


def test_after_a_power_cut_between_any_two_operations_kioslaverc_is_restored(
    session: DconfSession, kioslaverc: Path, settings_of_kde: bytes, tmp_path: Path
) -> None:
    run = command_runner(session_environment(session.environment, "/nowhere"))
    target = KdeTarget(kioslaverc, run, lambda name: None)
    for cut in count():
        for cut_again in count():
            file = JournalFile(tmp_path / f"journal-{cut}-{cut_again}")
            with crashing_files(cut):
                has_crashed = is_crashed(partial(turn_on, file, target, MANUAL))
            # The restoration is cut as well, and then started again.
            with crashing_files(cut_again):
                has_crashed_again = is_crashed(partial(restore, file, lambda name: target))
            restore(file, lambda name: target)
            assert kioslaverc.read_bytes() == settings_of_kde
            assert file.load() is None
            if not has_crashed_again:
                break
        if not has_crashed:
            # The journal and the file: five operations each.
            assert cut == 10
            return


@pytest.mark.parametrize("command", ["gdbus", "dbus-send"])
def test_programs_of_kde_are_notified(
    session: DconfSession, kioslaverc: Path, command: str
) -> None:
    run = command_runner(session_environment(session.environment, "/nowhere"))
    target = KdeTarget(kioslaverc, run, lambda name: name if name == command else None)
    rule = MatchRule(
        type="signal",
        interface="org.kde.KIO.Scheduler",
        member="reparseSlaveConfiguration",
        path="/KIO/Scheduler",
    )
    with closing(open_dbus_connection(bus=session.bus)) as connection:
        Proxy(message_bus, connection, timeout=PATIENCE).AddMatch(rule)
        with connection.filter(rule) as signals:
            target.write([Change("ProxyType", "=1")])
            assert connection.recv_until_filtered(signals, timeout=PATIENCE).body == ("",)


# --- All targets of a desktop --------------------------------------------------------------------


@pytest.mark.parametrize("desktop", ["GNOME", "KDE", "XFCE"])
@pytest.mark.parametrize("setting", [MANUAL, PAC])
def test_all_targets_of_a_desktop_are_restored(
    session: DconfSession,
    kioslaverc: Path,
    settings_of_kde: bytes,
    file: JournalFile,
    find: Find,
    desktop: str,
    setting: ProxySetting,
) -> None:
    session.load(COMPANY)
    dump = session.dump()
    environ = {"XDG_CURRENT_DESKTOP": desktop}
    choices = linux.choose_targets(environ, lambda name: name, starts_at_log_in=True)
    turn_on_all(file, [find(choice.name) for choice in choices], setting)
    variables = Path(session.environment["XDG_CONFIG_HOME"], "environment.d/60-trayproxy.conf")
    assert variables.exists() is (desktop == "XFCE" and not setting.uses_pac)
    assert (kioslaverc.read_bytes() != settings_of_kde) is (desktop == "KDE")
    names = [record["target"] for record in json.loads(file.path.read_bytes())["targets"]]
    assert names == [choice.name for choice in choices]
    assert restore(file, find).failures == ()
    assert session.dump() == dump
    assert kioslaverc.read_bytes() == settings_of_kde
    assert not variables.exists()


def test_a_failure_of_the_second_target_restores_the_first(
    session: DconfSession,
    kioslaverc: Path,
    settings_of_kde: bytes,
    file: JournalFile,
    find: Find,
    place: Home,
) -> None:
    session.load(COMPANY)
    dump = session.dump()
    address = f"unix:path={place.root}/bus"
    no_bus = {**session.environment, "DBUS_SESSION_BUS_ADDRESS": address}
    targets = [find("kioslaverc"), linux.find_target("gsettings", no_bus)]
    with pytest.raises(NotAppliedError) as failure:
        turn_on_all(file, targets, MANUAL)
    assert (failure.value.target, failure.value.is_rolled_back) == ("gsettings", True)
    assert kioslaverc.read_bytes() == settings_of_kde
    assert session.dump() == dump
    assert file.load() is None
