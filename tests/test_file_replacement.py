"""Tests for trayproxy.file_replacement."""

import errno
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from trayproxy import file_replacement
from trayproxy.file_replacement import remove_file, replace_file


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return an existing file, the only file of its folder."""
    path = tmp_path / "settings"
    path.write_bytes(b"old\n")
    return path


def has_no_temporary_file(path: Path) -> bool:
    return [entry.name for entry in path.parent.iterdir()] == [path.name]


@pytest.mark.unix
@pytest.mark.parametrize(("keeps_mode", "mode"), [(False, 0o600), (True, 0o640)])
def test_the_mode_of_the_old_file_is_kept_on_request(
    path: Path, keeps_mode: bool, mode: int
) -> None:
    path.chmod(0o640)
    replace_file(path, b"new\n", keeps_mode=keeps_mode)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    replace_file(path.with_name("other"), b"new\n", keeps_mode=keeps_mode)
    assert stat.S_IMODE(path.with_name("other").stat().st_mode) == 0o600


@pytest.mark.unix
def test_a_loop_of_links_is_refused(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.symlink_to(second)
    second.symlink_to(first)
    with pytest.raises(OSError, match="symbolic links") as failure:
        replace_file(first, b"new\n")
    assert failure.value.errno == errno.ELOOP
    assert first.is_symlink()


def test_a_file_is_removed(path: Path) -> None:
    for _ in range(2):
        remove_file(path)
        assert not path.exists()


@pytest.mark.unix
def test_a_planted_link_is_not_followed(path: Path) -> None:
    victim = path.with_name("victim")
    victim.write_text("precious")
    path.with_name(".settings.trayproxy-new").symlink_to(victim)
    replace_file(path, b"schema = 1\n")
    assert victim.read_text() == "precious"
    assert not path.is_symlink()


class FakeVirusScanner:
    """A program with open files while they are renamed or deleted, as on Windows."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, step: str, attempts: int) -> None:
        self.refused = 0
        self._attempts = attempts
        self._real: Callable[..., object] = getattr(Path, step)
        monkeypatch.setattr(Path, step, lambda *args, **kw: self._step(*args, **kw))
        monkeypatch.setattr(file_replacement, "PAUSES_S", (0.0, 0.0, 0.0))

    def _step(self, *args: object, **kw: object) -> object:
        if self.refused < self._attempts:
            self.refused += 1
            raise PermissionError(13, "The process cannot access the file", str(args[0]), 32)
        return self._real(*args, **kw)


@pytest.mark.parametrize("step", ["replace", "unlink"])
def test_a_file_opened_by_a_scanner_is_replaced_after_a_retry(
    path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    scanner = FakeVirusScanner(monkeypatch, step, 3)
    replace_file(path, b"schema = 1\n")
    assert path.read_bytes() == b"schema = 1\n"
    assert scanner.refused == 3


def test_a_permanently_open_file_is_not_replaced(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = path.read_bytes()
    FakeVirusScanner(monkeypatch, "replace", 1000)
    with pytest.raises(PermissionError):
        replace_file(path, b"schema = 1\n")
    assert path.read_bytes() == before
    assert has_no_temporary_file(path)


def test_the_attempts_to_replace_a_file_last_a_second() -> None:
    assert sum(file_replacement.PAUSES_S) == pytest.approx(1)


def test_a_file_opened_by_a_scanner_is_removed_after_a_retry(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FakeVirusScanner(monkeypatch, "unlink", 3)
    remove_file(path)
    assert not path.exists()
