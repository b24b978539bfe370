"""The file of environment variables for new sessions."""

import stat
from dataclasses import replace
from pathlib import Path

import pytest

from tests.desktop.system_proxy.turning_on import turn_on
from trayproxy.desktop.config_home import config_home
from trayproxy.desktop.system_proxy.base import ProxyKind, ProxySetting, ProxyView
from trayproxy.desktop.system_proxy.environment_d import (
    KEY,
    EnvironmentTarget,
    environment_file,
    no_proxy,
)
from trayproxy.service.system_proxy.bypass_rules import bypass_rules
from trayproxy.system_settings.apply import NotAppliedError
from trayproxy.system_settings.entries import Change, TargetError
from trayproxy.system_settings.journal import JournalFile
from trayproxy.system_settings.restore import restore

URL = "http://127.0.0.1:3128/proxy.pac"
RULES = bypass_rules(("*.corp.example", "intranet"))
MANUAL = ProxySetting("127.0.0.1", 3128, URL, bypass=RULES)
HOSTS = "localhost,127.0.0.0/8,::1,127.0.0.1,.corp.example"
TEXT = f"""\
# Written by TrayProxy (system proxy). It is removed when the system proxy is turned off.
http_proxy=http://127.0.0.1:3128
https_proxy=http://127.0.0.1:3128
no_proxy={HOSTS}
HTTP_PROXY=http://127.0.0.1:3128
HTTPS_PROXY=http://127.0.0.1:3128
NO_PROXY={HOSTS}
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "config" / "environment.d" / "60-trayproxy.conf"


def test_the_file_has_the_variables_in_both_cases(path: Path) -> None:
    wanted = EnvironmentTarget(path).wanted(MANUAL, {})
    assert wanted.values == {KEY: TEXT}
    assert wanted.inexpressible == ("intranet",)


def test_a_pac_file_is_not_expressed(path: Path) -> None:
    wanted = EnvironmentTarget(path).wanted(replace(MANUAL, uses_pac=True), {})
    assert (wanted.values, wanted.inexpressible) == ({}, ())


def test_the_file_is_written_and_removed(path: Path, file: JournalFile) -> None:
    target = EnvironmentTarget(path)
    assert target.read() == {KEY: None}
    turn_on(file, target, MANUAL)
    assert path.read_bytes() == TEXT.encode()
    assert list(path.parent.iterdir()) == [path]
    restore(file, lambda name: target)
    assert not path.exists()


@pytest.mark.parametrize("octets", [b"", b"a=b\r\n", b"a=\xff", "a=ü".encode()])
def test_another_text_is_restored(path: Path, file: JournalFile, octets: bytes) -> None:
    path.parent.mkdir(parents=True)
    path.write_bytes(octets)
    target = EnvironmentTarget(path)
    turn_on(file, target, MANUAL)
    assert path.read_bytes() == TEXT.encode()
    restore(file, lambda name: target)
    assert path.read_bytes() == octets


def test_a_file_that_the_user_has_edited_stays(path: Path, file: JournalFile) -> None:
    target = EnvironmentTarget(path)
    turn_on(file, target, MANUAL)
    path.write_text("http_proxy=http://mine:1\n")
    assert restore(file, lambda name: target).left == (("environment.d", "file"),)
    assert path.read_text() == "http_proxy=http://mine:1\n"


def test_a_folder_in_place_of_the_file_is_named(path: Path) -> None:
    path.mkdir(parents=True)
    target = EnvironmentTarget(path)
    with pytest.raises(TargetError, match="cannot be read"):
        target.read()
    with pytest.raises(TargetError, match="cannot be removed"):
        target.write([Change(KEY, None)])


def test_a_refused_write_changes_nothing(path: Path, file: JournalFile) -> None:
    path.parent.parent.mkdir()
    path.parent.write_bytes(b"")  # A file in place of the folder.
    with pytest.raises(NotAppliedError, match="cannot be written") as failure:
        turn_on(file, EnvironmentTarget(path), MANUAL)
    assert failure.value.is_rolled_back
    assert file.load() is None


@pytest.mark.unix
def test_a_link_is_left_alone(path: Path, file: JournalFile, tmp_path: Path) -> None:
    path.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").write_text("a=b\n")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(NotAppliedError, match="is a symbolic link"):
        turn_on(file, EnvironmentTarget(path), MANUAL)
    assert (tmp_path / "elsewhere").read_text() == "a=b\n"
    assert path.is_symlink()


@pytest.mark.unix
def test_only_the_user_reads_the_file(path: Path) -> None:
    EnvironmentTarget(path).write([Change(KEY, TEXT)])
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("text", "view"),
    [
        (None, ProxyView(ProxyKind.NONE)),
        ("", ProxyView(ProxyKind.NONE)),
        (TEXT, ProxyView(ProxyKind.MANUAL, "127.0.0.1:3128")),
        ("http_proxy='http://a:1/'\nhttps_proxy=b", ProxyView(ProxyKind.MANUAL, "a:1, b:80")),
        ("http_proxy=http://user:secret@[::1]:2", ProxyView(ProxyKind.MANUAL, "[::1]:2")),
        ("http_proxy=\nHTTP_PROXY=http://a:99999\n#https_proxy=c", ProxyView(ProxyKind.NONE)),
    ],
)
def test_descriptions(path: Path, text: str | None, view: ProxyView) -> None:
    assert EnvironmentTarget(path).describe({KEY: text}) == view


@pytest.mark.parametrize(
    ("rule", "entry", "is_understood"),
    [
        ("*.corp.example", ".corp.example", True),
        ("10.1.2.3", "10.1.2.3", True),
        ("[fd00::1]", "fd00::1", True),
        ("10.1.2.3/8", "10.0.0.0/8", True),
        ("<local>", "<local>", False),
        (".corp.example:80", ".corp.example:80", False),
        ("*", "*", False),
        ("dev-*.corp.example", None, False),
        ("x.com", None, False),
        ("10.1.2.3:80", None, False),
    ],
)
def test_bypass_rules(rule: str, entry: str | None, is_understood: bool) -> None:
    found = no_proxy(bypass_rules([rule]))
    assert found.entries == (() if entry is None else (entry,))
    assert found.inexpressible == (() if is_understood else (rule,))


def test_folders_of_settings(tmp_path: Path) -> None:
    assert config_home({"HOME": str(tmp_path)}) == tmp_path / ".config"
    assert config_home({"HOME": "/h", "XDG_CONFIG_HOME": str(tmp_path)}) == tmp_path
    assert config_home({"HOME": str(tmp_path), "XDG_CONFIG_HOME": "x"}) == tmp_path / ".config"
    expected = tmp_path / "environment.d" / "60-trayproxy.conf"
    assert environment_file({"XDG_CONFIG_HOME": str(tmp_path)}) == expected
