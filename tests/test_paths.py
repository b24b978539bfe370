"""Tests for trayproxy.paths."""

import os
import stat
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import platformdirs
import pytest

from trayproxy.paths import PathError, Paths, locate, make_private


@pytest.fixture
def short_home() -> Iterator[Path]:
    """A folder with a path short enough for a socket below it."""
    with tempfile.TemporaryDirectory(prefix="tp-") as folder:
        yield Path(folder)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_home_contains_all_folders(short_home: Path) -> None:
    names = ["config", "state", "cache", "log", "runtime"]
    shared = platformdirs.user_state_path("trayproxy", appauthor=False)
    folders = {name: short_home / name for name in names}
    assert locate({"TRAYPROXY_HOME": str(short_home)}) == Paths(**folders, shared=shared)


def test_two_homes_share_the_journal_of_the_system_proxy(short_home: Path) -> None:
    first, second = (locate({"TRAYPROXY_HOME": str(short_home / n)}) for n in "12")
    assert first.system_proxy_file == second.system_proxy_file == locate({}).system_proxy_file
    assert first.system_proxy_lock == second.system_proxy_lock
    assert first.config_file != second.config_file


def test_prepare_creates_private_folders(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        paths = locate({"TRAYPROXY_HOME": str(tmp_path / "new")})
        paths.prepare()
    finally:
        os.umask(old)
    for folder in (paths.config, paths.state, paths.cache, paths.log, paths.runtime):
        assert mode(folder) == 0o700
    assert mode(tmp_path / "new") == 0o700


def test_the_mode_of_an_existing_folder_is_restricted(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    make_private(folder)
    assert mode(folder) == 0o700


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    folder, link = tmp_path / "theirs", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(tmp_path)
    os.chown(folder, 65534, 65534)
    os.lchown(link, 65534, 65534)
    for theirs in (folder, link):
        with pytest.raises(PathError, match="another user"):
            make_private(theirs)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_sudo_creates_no_folder_in_the_home_of_the_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    monkeypatch.setenv("SUDO_UID", "65534")
    with pytest.raises(PathError, match="run TrayProxy without sudo"):
        make_private(home / ".config" / "trayproxy")
    assert not list(home.iterdir())


def test_a_file_in_place_of_a_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PathError, match="not a folder"):
        make_private(tmp_path / "file")
    with pytest.raises(PathError, match="cannot be used"):
        make_private(tmp_path / "file" / "below")


def test_a_home_with_two_spellings_has_one_socket(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (tmp_path / "link").symlink_to(home)
    paths = locate({"TRAYPROXY_HOME": str(tmp_path / "link")})
    assert paths == locate({"TRAYPROXY_HOME": str(home)})
    assert paths.socket == home / "runtime" / "ipc.sock"
    assert paths.lock.parent == paths.socket.parent


def test_without_a_runtime_folder_the_state_folder_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Like platformdirs without a log-in session, if another user has created its folder, and if the
    # disk is full.
    def taken(*_: object, **__: object) -> Path:
        raise PermissionError

    def full(*_: object, **__: object) -> Path:
        raise FileNotFoundError("No usable temporary directory found")

    def shared(*_: object, **__: object) -> Path:
        return Path(f"/tmp/runtime-{os.geteuid()}/trayproxy")

    for runtime in (taken, full, shared):
        monkeypatch.setattr(platformdirs, "user_runtime_path", runtime)
        with tempfile.TemporaryDirectory(prefix="tp-") as folder:
            monkeypatch.setenv("XDG_STATE_HOME", folder)
            paths = locate({})
            assert paths.runtime == Path(folder, "trayproxy/run")
            paths.runtime.parent.mkdir()
            make_private(paths.runtime)
            assert mode(paths.runtime) == 0o700


@pytest.mark.parametrize("runtime", ["", "missing", "own"])
def test_without_a_home_the_platform_folders_are_used(short_home: Path, runtime: str) -> None:
    script = (
        "import warnings; warnings.simplefilter('error')\n"
        "from trayproxy.paths import locate\n"
        "paths = locate()\n"
        "print(paths.config_file, paths.log, paths.socket)\n"
    )
    own = short_home / "own"
    own.mkdir(mode=0o700)
    environ = {
        "HOME": str(short_home),
        "XDG_CONFIG_HOME": str(short_home / "c"),
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    if runtime:
        environ["XDG_RUNTIME_DIR"] = str(short_home / runtime)
    run = subprocess.run(
        [sys.executable, "-c", script], env=environ, capture_output=True, text=True, check=True
    )
    config, log, socket = run.stdout.split()
    assert config == str(short_home / "c/trayproxy/config.toml")
    assert log == str(short_home / ".local/state/trayproxy/log")
    uid = os.geteuid()
    if runtime == "own":
        assert socket == str(own / "trayproxy/ipc.sock")
    else:
        assert socket in {
            f"/run/user/{uid}/trayproxy/ipc.sock",
            str(short_home / ".local/state/trayproxy/run/ipc.sock"),
            str(short_home / "missing/trayproxy/ipc.sock"),
        }


def test_without_user_ids_the_runtime_folder_is_not_a_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Windows has no os.geteuid, and a user_runtime_path below %LOCALAPPDATA%\\Temp.
    monkeypatch.delattr(os, "geteuid", raising=False)
    monkeypatch.setattr(platformdirs, "user_data_path", lambda *_, **__: tmp_path / "local")
    monkeypatch.setattr(platformdirs, "user_runtime_path", lambda *_, **__: tmp_path / "Temp")
    assert locate({}).runtime == tmp_path / "local" / "run"


def test_locate_issues_no_warning_and_creates_nothing(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        locate({"TRAYPROXY_HOME": str(tmp_path / "none")})
    assert not (tmp_path / "none").exists()
