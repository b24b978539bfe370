"""The lock that serializes changes of the computer's settings."""

import os
from pathlib import Path

import pytest

from trayproxy.system_settings.lock import SettingsBusyError, changing_settings


def test_a_second_change_waits_and_gives_up(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with (
        changing_settings(path, 0),
        pytest.raises(SettingsBusyError) as busy,
        changing_settings(path, 0.01),
    ):
        raise AssertionError
    assert busy.value.pid == os.getpid()
    with changing_settings(path, 0):
        pass


def test_a_full_disk_does_not_keep_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, octets: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    for _ in range(2):
        with changing_settings(tmp_path / "lock", 0):
            pass
