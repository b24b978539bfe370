"""Tests for trayproxy.control.quit_mark."""

import os
from pathlib import Path

from trayproxy.control.quit_mark import has_quit_since, leave_quit_mark


def test_a_mark_is_newer_than_earlier_times_only(tmp_path: Path) -> None:
    path = tmp_path / "quit"
    assert not has_quit_since(path, 0.0)
    leave_quit_mark(path)
    left = path.stat().st_mtime
    assert has_quit_since(path, left)
    assert not has_quit_since(path, left + 1)
    os.utime(path, (0, 0))
    assert not has_quit_since(path, left)
    leave_quit_mark(path)
    assert has_quit_since(path, left)


def test_a_mark_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    path = tmp_path / "missing" / "quit"
    leave_quit_mark(path)
    assert not has_quit_since(path, 0.0)
