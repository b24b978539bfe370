"""Tests for trayproxy.importers.search, with files."""

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from tests.importers.examples import DATA, SECRET
from trayproxy.desktop.system_name import SystemName
from trayproxy.desktop.system_pac.base import SystemSetting
from trayproxy.importers.found import Found, SecretForm, Source, UnreadableSourceError
from trayproxy.importers.places import settings_files
from trayproxy.importers.search import Search
from trayproxy.importers.system import DesktopProxy
from trayproxy.profiles.profile import Upstream
from trayproxy.recipes.targets import Computer


def search(home: Path, commands: Iterable[tuple[str, ...]] = (), **environ: str) -> Search:
    system = SystemName.LINUX
    computer = Computer(system, {"XDG_CONFIG_HOME": "", **environ}, str(home), os.path.lexists)
    return Search(computer, lambda names: commands, lambda: DesktopProxy(SystemSetting()))


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")
    return path


def upstreams(found: Found) -> list[str]:
    return [str(upstream) for profile in found.profiles for upstream in profile.upstreams]


def test_all_programs_are_searched(tmp_path: Path) -> None:
    write(tmp_path / ".config/px/px.ini", "[proxy]\nserver = p1:1\nusername = C\\u\n")
    write(tmp_path / ".cntlm.conf", "Proxy p2:2\n")
    write(
        tmp_path / "winfoom/config/proxy.properties",
        "proxy.type=HTTP\nproxy.http.host=p3\nproxy.http.port=3\n",
    )
    write(tmp_path / ".npmrc", "proxy=http://p4:4\n")
    write(tmp_path / ".gitconfig", "[http]\nproxy = http://p5:5\n")
    write(
        tmp_path / ".config/systemd/user/alpaca.service",
        "[Service]\nExecStart=alpaca -C http://p/6.pac\n",
    )
    write(tmp_path / ".config/proxydetox/proxydetoxrc", "--race-connect\n")
    write(tmp_path / ".config/proxydetox/proxy.pac", "")
    found = search(tmp_path, https_proxy="http://p7:7").all()
    assert upstreams(found) == [
        *("http://p1:1", "http://p2:2", "http://p3:3", "http://p7:7", "http://p4:4", "http://p5:5")
    ]
    pacs = [str(profile.pac) for profile in found.profiles if profile.pac]
    assert pacs == ["http://p/6.pac", str(tmp_path / ".config/proxydetox/proxy.pac")]
    px = found.profiles[0]
    assert px.password is not None
    assert px.password.form is SecretForm.KEYRING
    # Another file of the same program, such as that of the system, is not used beside it.
    assert str(px.place) == str(tmp_path / ".config/px/px.ini")


def test_a_login_in_a_variable_is_found_where_it_is_set(tmp_path: Path) -> None:
    profile_file = write(
        tmp_path / ".profile", f"# one\nexport https_proxy=http://u:{SECRET}@p:1\n"
    )
    found = search(tmp_path, https_proxy=f"http://u:{SECRET}@p:1").one(Source.ENVIRONMENT)
    [profile] = found.profiles
    assert profile.password is not None
    assert str(profile.password.place) == f"{profile_file}, line 2"


def test_running_programs_are_searched(tmp_path: Path) -> None:
    commands = [("/usr/bin/px", "--proxy=p:1"), ("/usr/bin/px",)]
    found = search(tmp_path, commands).one(Source.PX)
    [profile] = found.profiles
    assert (profile.upstreams, str(profile.place)) == (
        (Upstream("p", 1),),
        "the command line of px",
    )


def test_a_file_of_a_stranger_gets_no_password_of_the_user(tmp_path: Path) -> None:
    """It must not decide to which proxy Px's password in the keyring is offered."""
    path = write(tmp_path / "px.ini", "[proxy]\nserver = evil:1\nusername = CORP\\jdoe\n")
    npm = write(tmp_path / "npmrc", "proxy=http://u:${PX_PASSWORD}@evil:1\n")
    here = search(tmp_path, PX_PASSWORD=SECRET)
    [profile] = here.file(str(path)).profiles
    assert profile.password is None
    assert upstreams(here.file(str(path))) == ["http://evil:1"]
    [other] = here.file(str(npm)).profiles
    assert other.password is not None
    assert other.password.secret == "${PX_PASSWORD}"


@pytest.mark.unix
def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    here = search(tmp_path)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name, reason in (
        ("fifo", "it is not a file"),
        ("zero", "it is not a file"),
        (".", "it is not a file"),
        ("loop", "it cannot be read: Too many levels of symbolic links"),
        ("none", "there is no such file"),
        ("a\0b", "it cannot be read: embedded null byte"),
    ):
        with pytest.raises(UnreadableSourceError) as refused:
            here.file(str(tmp_path / name))
        assert refused.value.reason == reason


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    (tmp_path / ".cntlm.conf").symlink_to(DATA / "cntlm.conf")
    assert upstreams(search(tmp_path).one(Source.CNTLM))[0] == "http://10.0.0.41:8080"


def test_an_unreadable_source_does_not_hide_the_others(tmp_path: Path) -> None:
    write(tmp_path / ".config/px/px.ini", "nonsense")
    write(tmp_path / ".npmrc", "proxy=http://p4:4\n")
    found = search(tmp_path).all()
    assert "http://p4:4" in upstreams(found)
    assert [error.place.name for error in found.errors] == [str(tmp_path / ".config/px/px.ini")]


@pytest.mark.parametrize(
    ("system", "source", "path"),
    [
        (SystemName.WINDOWS, Source.PX, r"C:\Users\u\AppData\Roaming\px\px.ini"),
        (SystemName.WINDOWS, Source.CNTLM, r"C:\Program Files (x86)\Cntlm\cntlm.ini"),
        (SystemName.WINDOWS, Source.GIT, r"C:\Users\u\.gitconfig"),
        (SystemName.MACOS, Source.PX, "/Users/u/Library/Application Support/px/px.ini"),
        (SystemName.MACOS, Source.CNTLM, "/opt/homebrew/etc/cntlm.conf"),
        (SystemName.LINUX, Source.PX, "/home/u/.config/px/px.ini"),
        (SystemName.LINUX, Source.CNTLM, "/etc/cntlm.conf"),
        (SystemName.LINUX, Source.PROXYDETOX, "/etc/proxydetox/proxydetoxrc"),
    ],
)
def test_the_places_of_each_system(system: SystemName, source: Source, path: str) -> None:
    homes = {
        SystemName.WINDOWS: r"C:\Users\u",
        SystemName.MACOS: "/Users/u",
        SystemName.LINUX: "/home/u",
    }
    environ = {"ProgramFiles(x86)": r"C:\Program Files (x86)"}
    computer = Computer(system, environ, homes[system], lambda path: False)
    assert path in settings_files(source, computer)
