"""Files that other programs have open, as virus scanners have new ones."""

import ctypes
from ctypes import wintypes
from pathlib import Path
from typing import Any

import pytest

from trayproxy.profiles.store import replace_file

_GENERIC_READ = 0x80000000
_FILE_SHARE_READ = 1
_OPEN_EXISTING = 3
_INVALID = ctypes.c_void_p(-1).value


class Scanner:
    """Another program: it has a file open and lets nobody replace or remove it."""

    def __init__(self, path: Path) -> None:
        windll: Any = getattr(ctypes, "WinDLL", None)
        self._kernel32 = windll("kernel32", use_last_error=True)
        self._kernel32.CreateFileW.restype = wintypes.HANDLE
        self._handle = self._kernel32.CreateFileW(
            str(path), _GENERIC_READ, _FILE_SHARE_READ, None, _OPEN_EXISTING, 0, None
        )
        assert self._handle != _INVALID

    def close(self) -> None:
        """Have it read the file to its end."""
        if self._handle is not None:
            self._kernel32.CloseHandle(wintypes.HANDLE(self._handle))
            self._handle = None


def test_a_file_that_a_scanner_has_open_is_replaced_when_it_is_closed(
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

    monkeypatch.setattr("trayproxy.profiles.store.time.sleep", pause)
    replace_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert len(pauses) == 2
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.toml"]


def test_a_file_that_stays_open_is_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_bytes(b"old")
    scanner = Scanner(path)
    with pytest.raises(PermissionError):
        replace_file(path, b"new")
    scanner.close()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["config.toml"]
