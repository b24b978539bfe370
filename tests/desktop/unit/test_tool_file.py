"""Tests for trayproxy.desktop.tool_file."""

import os
import stat
from pathlib import Path

import pytest

from trayproxy.desktop.tool_file import MAX_SIZE, AccessDeniedError, ToolFiles
from trayproxy.system_settings.entries import TargetError

FILES = ToolFiles()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rc"
    path.write_bytes(b"old\n")
    return path


def test_a_file_is_read_written_and_removed(file: Path) -> None:
    path = str(file)
    assert FILES.read(path) == b"old\n"
    FILES.check_writable(path)
    FILES.write(path, b"old\n", b"new\xff")
    assert file.read_bytes() == b"new\xff"
    FILES.remove(path, b"new\xff")
    assert FILES.read(path) is None
    assert os.listdir(file.parent) == []


def test_missing_folders_are_created_and_removed(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "rc"
    folders = FILES.missing_folders(str(path))
    assert folders == (str(tmp_path / "a"), str(tmp_path / "a" / "b"))
    FILES.check_writable(str(path))
    FILES.write(str(path), None, b"x")
    assert FILES.missing_folders(str(path)) == ()
    FILES.remove_folder(folders[1])
    assert path.exists()
    FILES.remove(str(path), b"x")
    for folder in reversed(folders):
        FILES.remove_folder(folder)
    assert os.listdir(tmp_path) == []


@pytest.mark.unix
@pytest.mark.parametrize("mode", [0o600, 0o644, 0o640, 0o755])
def test_the_mode_and_the_extended_attributes_stay(file: Path, mode: int) -> None:
    file.chmod(mode)
    try:
        os.setxattr(file, "user.note", b"kept")
        has_attribute = True
    except OSError:  # The file system of the test has none.
        has_attribute = False
    FILES.write(str(file), b"old\n", b"new\n")
    assert stat.S_IMODE(file.stat().st_mode) == mode
    assert not has_attribute or os.getxattr(file, "user.note") == b"kept"


@pytest.mark.unix
def test_a_symbolic_link_is_left_alone(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    with pytest.raises(TargetError, match=f"it is a symbolic link, to {file}"):
        FILES.read(str(link))
    with pytest.raises(TargetError, match="symbolic link"):
        FILES.write(str(link), b"old\n", b"new\n")
    assert link.is_symlink()
    assert file.read_bytes() == b"old\n"


@pytest.mark.unix
def test_other_kinds_of_files_are_left_alone(file: Path, tmp_path: Path) -> None:
    os.link(file, tmp_path / "second")
    with pytest.raises(TargetError, match="several names"):
        FILES.read(str(file))
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path):
        with pytest.raises(TargetError, match="not a regular file"):
            FILES.read(str(path))
    large = tmp_path / "large"
    large.write_bytes(b"x" * (MAX_SIZE + 1))
    with pytest.raises(TargetError, match="larger than 1 MiB"):
        FILES.read(str(large))


def test_a_file_below_a_file_cannot_be_used(file: Path) -> None:
    with pytest.raises(TargetError, match="is not a folder"):
        FILES.check_writable(str(file / "rc"))


@pytest.mark.parametrize("path", ["rc", "rc/rc"])
def test_a_relative_path_cannot_be_used(path: str) -> None:
    with pytest.raises(TargetError, match="does not exist"):
        FILES.check_writable(path)


def test_the_temporary_file_of_a_killed_process_is_removed(file: Path) -> None:
    file.with_name(".rc.trayproxy-new").write_bytes(b"half")
    for _ in range(2):
        FILES.remove_leftover(str(file))
        assert os.listdir(file.parent) == ["rc"]


def test_a_file_that_was_changed_in_the_meantime_is_left_alone(file: Path) -> None:
    for call in (
        lambda: FILES.write(str(file), b"other\n", b"new\n"),
        lambda: FILES.write(str(file), None, b"new\n"),
        lambda: FILES.remove(str(file), b"other\n"),
    ):
        with pytest.raises(TargetError, match="another program is changing it"):
            call()
    assert file.read_bytes() == b"old\n"
    assert os.listdir(file.parent) == ["rc"]


@pytest.mark.parametrize("is_folder", [False, True])
def test_a_read_only_file_or_folder_is_left_alone(
    file: Path, monkeypatch: pytest.MonkeyPatch, is_folder: bool
) -> None:
    refused = file.parent if is_folder else file
    # The administrator, who may run the tests, can write everywhere.
    monkeypatch.setattr(os, "access", lambda path, mode: str(path) != str(refused))
    with pytest.raises(AccessDeniedError, match="read-only"):
        FILES.check_writable(str(file))


@pytest.mark.unix
def test_a_file_of_another_user_is_left_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owner = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    with pytest.raises(TargetError, match="belongs to another user"):
        FILES.read(str(file))
    with pytest.raises(TargetError, match="belongs to another user"):
        FILES.check_writable(str(file.with_name("new")))


def test_an_unreadable_file_is_left_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> os.stat_result:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "lstat", refuse)
    with pytest.raises(AccessDeniedError, match="it cannot be read: Permission denied"):
        FILES.read(str(file))


def test_a_full_disk_leaves_the_file_unchanged(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)
    with pytest.raises(TargetError, match="it cannot be written: No space left on device"):
        FILES.write(str(file), b"old\n", b"new\n")
    assert file.read_bytes() == b"old\n"
    assert os.listdir(file.parent) == ["rc"]


@pytest.mark.unix
def test_a_new_file_of_the_administrator_is_readable_for_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    path = tmp_path / "conf.d" / "95trayproxy"
    FILES.write(str(path), None, b"x")
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o755
