"""Files that another program has open, such as a virus scanner."""

import ctypes
from ctypes import wintypes
from pathlib import Path

import pytest

from trayproxy.desktop.windows_library import load_library
from trayproxy.file_replacement import replace_file

_GENERIC_READ = 0x80000000
_FILE_SHARE_READ = 1
_OPEN_EXISTING = 3
_INVALID = ctypes.c_void_p(-1).value


class Scanner:
    """A program that has a file open, so that no other program can replace or remove the file."""

    def __init__(self, path: Path) -> None:
        self._kernel32 = load_library("kernel32")
        self._kernel32.CreateFileW.restype = wintypes.HANDLE
        self._handle = self._kernel32.CreateFileW(
            str(path), _GENERIC_READ, _FILE_SHARE_READ, None, _OPEN_EXISTING, 0, None
        )
        assert self._handle != _INVALID

    def close(self) -> None:
        self._kernel32.CloseHandle(wintypes.HANDLE(self._handle))


def test_a_file_is_replaced_when_a_scanner_has_closed_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"old")
    scanner = Scanner(path)
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            scanner.close()

    monkeypatch.setattr("trayproxy.file_replacement.time.sleep", pause)
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert len(pauses) == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.toml"]


def test_a_file_that_stays_open_is_unchanged(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"old")
    scanner = Scanner(path)
    with pytest.raises(PermissionError):
        replace_file(path, b"new")
    scanner.close()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.toml"]
