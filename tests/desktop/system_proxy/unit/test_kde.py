"""The file ``kioslaverc`` of KDE."""

import stat
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.desktop.system_proxy.turning_on import turn_on
from trayproxy.desktop.commands import CommandResult
from trayproxy.desktop.system_proxy.base import ProxyKind, ProxySetting, ProxyView
from trayproxy.desktop.system_proxy.kde import (
    GROUP,
    KEYS,
    KdeTarget,
    edited,
    no_proxy_for,
    values_of,
)
from trayproxy.service.system_proxy.bypass_rules import bypass_rules
from trayproxy.system_settings.apply import NotAppliedError
from trayproxy.system_settings.entries import Change, TargetError, Value
from trayproxy.system_settings.journal import JournalFile
from trayproxy.system_settings.restore import restore

URL = "http://127.0.0.1:3128/proxy.pac"
RULES = bypass_rules(("*.corp.example", "intranet", "<local>"))
MANUAL = ProxySetting("127.0.0.1", 3128, URL, bypass=RULES)
PAC = ProxySetting("127.0.0.1", 3128, URL, uses_pac=True)
UNSET: dict[str, Value] = dict.fromkeys(KEYS)
COMPANY = """\
ProxyUrlDisplayFlags=15

[Proxy Settings]
NoProxyFor=localhost,127.0.0.1
Proxy Config Script=
ProxyType=1
ReversedException=false
ftpProxy=ftp://proxy 8080
httpProxy=http://proxy 8080
httpsProxy=http://proxy 8080
socksProxy=socks://proxy 8080
"""
"""What the dialog of KDE writes."""

EDITED_BY_HAND = """\
# My proxy
[Proxy Settings][Old]
ProxyType=3
[Other]
httpProxy=http://other 1

[Proxy Settings]
  ProxyType = 2\t
ProxyType=0
Proxy Config Script[$e]=$HOME/über.pac
# Exceptions
ReversedException[$d]
httpProxy=a\\sb

[$Version]
update_info=x"""


class FakeBus:
    """Commands that send D-Bus signals."""

    def __init__(self, *installed: str) -> None:
        self.installed = installed
        self.calls: list[tuple[str, ...]] = []
        self.fails = False

    def which(self, name: str) -> str | None:
        return f"/usr/bin/{name}" if name in self.installed else None

    def run(self, argv: Sequence[str]) -> CommandResult:
        self.calls.append(tuple(argv))
        if self.fails:
            raise TargetError("gdbus does not end")
        return CommandResult(1, "", "no bus")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "kioslaverc"


def target_of(path: Path, *site_files: Path, bus: FakeBus | None = None) -> KdeTarget:
    bus = bus or FakeBus()
    return KdeTarget(path, bus.run, bus.which, site_files)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text.encode())
    return path


# --- Reading -------------------------------------------------------------------------------------


def test_without_the_file_everything_is_unset(path: Path) -> None:
    target = target_of(path)
    assert target.read() == UNSET
    assert target.describe(target.read()) == ProxyView(ProxyKind.NONE)
    assert not target.is_managed


def test_values_are_the_rest_of_the_line(path: Path) -> None:
    write(path, EDITED_BY_HAND)
    assert target_of(path).read() == UNSET | {
        "ProxyType": "=0",
        "Proxy Config Script": "[$e]=$HOME/über.pac",
        "ReversedException": "[$d]",
        "httpProxy": "=a\\sb",
    }


@pytest.mark.parametrize(
    ("text", "view"),
    [
        (COMPANY, ProxyView(ProxyKind.MANUAL, "proxy:8080")),
        (
            "[Proxy Settings]\r\nProxyType=1\r\nhttpsProxy=a:1/\r\n",
            ProxyView(ProxyKind.MANUAL, "a:1"),
        ),
        (
            "[Proxy Settings]\nProxyType=1\nhttpProxy=http://a 1\nhttpsProxy=http://[::1] 2",
            ProxyView(ProxyKind.MANUAL, "a:1, [::1]:2"),
        ),
        ("[Proxy Settings]\nProxyType=1", ProxyView(ProxyKind.MANUAL)),
        (
            "[Proxy Settings]\nProxyType=2\nProxy Config Script=http://pac\n",
            ProxyView(ProxyKind.PAC, "http://pac"),
        ),
        ("[Proxy Settings]\nProxyType=3\n", ProxyView(ProxyKind.DETECT)),
        ("[Proxy Settings]\nProxyType=4\nhttpProxy=HTTP_PROXY\n", ProxyView(ProxyKind.ENVIRONMENT)),
        ("[Proxy Settings]\nProxyType=x\n", ProxyView(ProxyKind.NONE)),
        ("[Proxy Settings]\n#ProxyType=1\n", ProxyView(ProxyKind.NONE)),
        ("ProxyType=1\n[Other]\nProxyType=1\n", ProxyView(ProxyKind.NONE)),
    ],
)
def test_descriptions(path: Path, text: str, view: ProxyView) -> None:
    target = target_of(write(path, text))
    assert target.describe(target.read()) == view


@pytest.mark.parametrize(
    ("text", "is_managed"),
    [
        (COMPANY, False),
        (EDITED_BY_HAND, False),
        ("[Proxy Settings]\nProxyType[$i]=1\n", True),
        ("[Proxy Settings]\nProxyType[$ei]=1\n", True),
        ("[Proxy Settings]\nProxyType[de]=1\n", True),
        ("[Proxy Settings]\nsocksProxy[$i]=a\n", False),
        ("[Proxy Settings][$i]\n", True),
        ("[Proxy Settings][More][$i]\n", False),
        ("[Other][$i]\n", False),
        ("[$i]\n[Proxy Settings]\n", True),
    ],
)
def test_locked_settings_are_managed(path: Path, text: str, is_managed: bool) -> None:
    site = write(path.with_name("site"), text)
    assert target_of(path, site).is_managed is is_managed
    assert target_of(site).is_managed is is_managed


def test_a_file_that_cannot_be_read_is_named(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(TargetError, match="kioslaverc cannot be read: "):
        target_of(path).read()
    assert not target_of(path).is_managed
    path.rmdir()
    path.write_bytes(b"#" * (1 << 19))
    with pytest.raises(TargetError, match="kioslaverc is too large"):
        target_of(path).read()


# --- The new values ------------------------------------------------------------------------------


def test_manual_values(path: Path) -> None:
    wanted = target_of(path).wanted(MANUAL, {})
    assert wanted.values == {
        "httpProxy": "=http://127.0.0.1 3128",
        "httpsProxy": "=http://127.0.0.1 3128",
        "NoProxyFor": "=localhost,127.0.0.0/8,::1,.corp.example,<local>",
        "ReversedException": "=false",
        "ProxyType": "=1",
    }
    assert wanted.inexpressible == ("intranet",)
    view = target_of(path).describe(wanted.values)
    assert view == ProxyView(ProxyKind.MANUAL, "127.0.0.1:3128")
    assert (
        target_of(path).wanted(ProxySetting("::1", 1, URL), {}).values["httpProxy"]
        == "=http://[::1] 1"
    )


def test_pac_values(path: Path) -> None:
    wanted = target_of(path).wanted(replace(MANUAL, uses_pac=True), {})
    assert wanted.values == {
        "Proxy Config Script": "=http://127.0.0.1:3128/proxy.pac",
        "NoProxyFor": "=localhost,127.0.0.0/8,::1,.corp.example,<local>",
        "ReversedException": "=false",
        "ProxyType": "=2",
    }
    assert wanted.inexpressible == ()
    assert target_of(path).describe(wanted.values) == ProxyView(ProxyKind.PAC, PAC.pac_url)


@pytest.mark.parametrize(
    ("rule", "entry", "is_understood"),
    [
        ("*.corp.example", ".corp.example", True),
        ("10.1.2.3", "10.1.2.3/32", True),
        ("fd00::1", "fd00::1/128", True),
        ("10.1.2.3/8", "10.0.0.0/8", True),
        ("<local>", "<local>", True),
        ("*.corp.example:80", ".corp.example:80", False),
        ("*", "*", False),
        ("*corp.example", "*corp.example", False),
        ("dev-*.corp.example", None, False),
        ("x.com", None, False),
        ("10.1.2.3:80", None, False),
        ("10.0.0.0/8:80", None, False),
        ("<local>:80", None, False),
    ],
)
def test_bypass_rules(rule: str, entry: str | None, is_understood: bool) -> None:
    found = no_proxy_for(bypass_rules([rule]))
    assert found.entries == (() if entry is None else (entry,))
    assert found.inexpressible == (() if is_understood else (rule,))


# --- Editing -------------------------------------------------------------------------------------


def test_other_lines_stay() -> None:
    new = edited(EDITED_BY_HAND, {"ProxyType": "=1", "httpProxy": "=b", "NoProxyFor": "=c"})
    expected = EDITED_BY_HAND.replace("ProxyType=0", "ProxyType=1").replace("=a\\sb", "=b")
    assert new == expected.replace("[Proxy Settings]\n  ", "[Proxy Settings]\nNoProxyFor=c\n  ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "[Proxy Settings]\nProxyType=1\n"),
        ("a=b", "a=b\n\n[Proxy Settings]\nProxyType=1\n"),
        ("[A]\na=b\n", "[A]\na=b\n\n[Proxy Settings]\nProxyType=1\n"),
        ("[Proxy Settings]", "[Proxy Settings]\nProxyType=1\n"),
        ("[Proxy Settings]\n\n[A]\n", "[Proxy Settings]\nProxyType=1\n\n[A]\n"),
        ("[Proxy Settings]\r\nProxyType=2\r\n", "[Proxy Settings]\r\nProxyType=1\r\n"),
    ],
)
def test_an_entry_is_added_or_replaced(text: str, expected: str) -> None:
    assert edited(text, {"ProxyType": "=1"}) == expected


def test_all_entries_of_a_key_are_removed() -> None:
    text = "[Proxy Settings]\nProxyType=1\na=b\nProxyType=2\n\n[Proxy Settings]\nProxyType=3\n"
    assert edited(text, {"ProxyType": None}) == "[Proxy Settings]\na=b\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[Proxy Settings]\nProxyType=1\n", ""),
        ("[A]\na=b\n\n[Proxy Settings]\nProxyType=1\n", "[A]\na=b\n"),
        ("[Proxy Settings]\nProxyType=1\n\n[A]\na=b\n", "[A]\na=b\n"),
        ("[A]\n\n[Proxy Settings]\nProxyType=1\n\n[B]\n", "[A]\n\n[B]\n"),
        ("[Proxy Settings]\n# c\nProxyType=1\n", "[Proxy Settings]\n# c\n"),
    ],
)
def test_a_group_without_entries_is_removed(text: str, expected: str) -> None:
    assert edited(text, {"ProxyType": None}) == expected


lines = st.sampled_from(
    [
        "[Proxy Settings]", "[Proxy Settings][More]", "[A]", "", "# c", "ProxyType=1",
        "ProxyType = 2", "  httpProxy=http://a 1", "ReversedException[$d]", "NoProxyFor[$e]=a,b",
        "x=y", "httpsProxy=\r",
    ]
)  # fmt: skip


@given(st.lists(lines), st.sampled_from([MANUAL, PAC]))
def test_every_file_with_entries_is_restored_octet_for_octet(
    content: list[str], setting: ProxySetting
) -> None:
    text = "".join(f"{line}\n" for line in ("[Proxy Settings]", "kept=1", *content))
    target = KdeTarget(Path(), FakeBus().run, FakeBus().which)
    before = values_of(text)
    wanted = target.wanted(setting, {}).values
    on = edited(text, wanted)
    assert values_of(on) == {**before, **wanted}
    assert edited(on, {key: before[key] for key in wanted}) == text


# --- Changes and restorations --------------------------------------------------------------------


@pytest.mark.parametrize("text", [COMPANY, EDITED_BY_HAND, "", "[A]\nb=c\n", f"[{GROUP}]\nx=y\n"])
@pytest.mark.parametrize("setting", [MANUAL, PAC])
def test_the_file_is_restored_octet_for_octet(
    path: Path, file: JournalFile, text: str, setting: ProxySetting
) -> None:
    target = target_of(write(path, text))
    turn_on(file, target, setting)
    assert path.read_bytes() != text.encode()
    restore(file, lambda name: target)
    assert path.read_bytes() == text.encode()


def test_a_new_file_stays_as_an_empty_file(path: Path, file: JournalFile) -> None:
    target = target_of(path)
    turn_on(file, target, MANUAL)
    restore(file, lambda name: target)
    assert path.read_bytes() == b""
    assert list(path.parent.iterdir()) == [path]


def test_kde_may_write_the_file_again_in_between(path: Path, file: JournalFile) -> None:
    target = target_of(write(path, COMPANY))
    turn_on(file, target, MANUAL)
    # KConfig sorts the entries and removes comments.
    head, _, group = path.read_text().partition("[Proxy Settings]\n")
    rewritten = head + "[Proxy Settings]\n" + "".join(sorted(group.splitlines(True)))
    path.write_text(rewritten, newline="")
    assert restore(file, lambda name: target).left == ()
    assert path.read_bytes() == COMPANY.encode()


def test_values_of_another_program_stay(path: Path, file: JournalFile) -> None:
    target = target_of(write(path, COMPANY))
    turn_on(file, target, MANUAL)
    on = path.read_text()
    write(path, on.replace("httpProxy=http://127.0.0.1 3128", "httpProxy=http://new 80"))
    assert restore(file, lambda name: target).left == (("kioslaverc", "http"),)
    values = target.read()
    assert (values["httpProxy"], values["ProxyType"]) == ("=http://new 80", "=1")
    assert values["httpsProxy"] == "=http://proxy 8080"


@pytest.mark.unix
def test_the_mode_of_the_file_stays(path: Path) -> None:
    target_of(path).write([Change("ProxyType", "=1")])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    target_of(path).write([Change("ProxyType", "=0")])
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


@pytest.mark.unix
def test_a_link_stays_a_link(path: Path, tmp_path: Path) -> None:
    write(tmp_path / "dotfiles" / "kioslaverc", COMPANY)
    path.parent.mkdir()
    path.symlink_to(tmp_path / "dotfiles" / "kioslaverc")
    target_of(path).write([Change("ProxyType", "=0")])
    assert path.is_symlink()
    assert target_of(tmp_path / "dotfiles" / "kioslaverc").read()["ProxyType"] == "=0"


def test_files_left_by_a_killed_process_are_replaced(path: Path) -> None:
    write(path.with_name(".kioslaverc.trayproxy-new"), "half")
    target_of(path).write([Change("ProxyType", "=1")])
    assert path.read_bytes() == b"[Proxy Settings]\nProxyType=1\n"
    assert list(path.parent.iterdir()) == [path]


def test_a_refused_write_changes_nothing(path: Path, file: JournalFile) -> None:
    write(path, COMPANY)
    # The name of the temporary file is taken by a folder, so that it cannot be created.
    path.with_name(".kioslaverc.trayproxy-new").mkdir()
    with pytest.raises(NotAppliedError, match="kioslaverc cannot be written: ") as failure:
        turn_on(file, target_of(path), MANUAL)
    assert path.read_bytes() == COMPANY.encode()
    # The roll-back has nothing to write.
    assert failure.value.is_rolled_back
    assert file.load() is None


# --- The signal ----------------------------------------------------------------------------------

SIGNAL = "org.kde.KIO.Scheduler.reparseSlaveConfiguration"


@pytest.mark.parametrize(
    ("installed", "command"),
    [
        (
            ("gdbus", "dbus-send"),
            "/usr/bin/gdbus emit --session --object-path /KIO/Scheduler --signal " + SIGNAL + " ''",
        ),
        (
            ("dbus-send",),
            "/usr/bin/dbus-send --session --type=signal /KIO/Scheduler " + SIGNAL + " string:",
        ),
        ((), None),
    ],
)
@pytest.mark.parametrize("fails", [True, False])
def test_programs_are_notified(
    path: Path, installed: tuple[str, ...], command: str | None, fails: bool
) -> None:
    bus = FakeBus(*installed)
    bus.fails = fails
    target_of(path, bus=bus).write([Change("ProxyType", "=1"), Change("httpProxy", "=http://a 1")])
    assert [" ".join(call) for call in bus.calls] == ([command] if command else [])
    assert path.read_bytes() == b"[Proxy Settings]\nhttpProxy=http://a 1\nProxyType=1\n"
