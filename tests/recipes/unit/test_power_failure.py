"""Cut the power between any two operations on the real files of a recipe and its journal."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.recipes.fake_files import PowerFailure
from trayproxy.desktop.tool_file import ToolFiles
from trayproxy.recipes.apply import apply, undo
from trayproxy.recipes.formats.setting import Format, Setting
from trayproxy.recipes.journal import RecipeJournals
from trayproxy.recipes.plan import FileTarget

ORIGINAL = b"[user]\n\tname = J\n"
OPERATIONS = ("fsync", "mkdir", "open", "replace", "rmdir", "unlink")


class Power:
    """Counts the operations on files, and ends the process before the operation `last`."""

    def __init__(self) -> None:
        self.last: int | None = None
        self.count = 0

    def watch(self, operation: Callable[..., object]) -> Callable[..., object]:
        def watched(*arguments: object, **options: object) -> object:
            if self.last is not None and self.count >= self.last:
                raise PowerFailure
            self.count += 1
            return operation(*arguments, **options)

        return watched


@pytest.fixture
def power(monkeypatch: pytest.MonkeyPatch) -> Iterator[Power]:
    power = Power()
    with monkeypatch.context() as patch:
        for name in OPERATIONS:
            # The power is not really cut: nothing needs to be on the disk.
            operation = (lambda descriptor: None) if name == "fsync" else getattr(os, name)
            patch.setattr(os, name, power.watch(operation))
        yield power


def _targets(home: Path, port: int) -> tuple[FileTarget, ...]:
    url = f"http://127.0.0.1:{port}"
    return (
        FileTarget(str(home / ".gitconfig"), Format.GIT, (Setting(("http", "proxy"), url),)),
        FileTarget(str(home / ".config" / "x" / "rc"), Format.BLOCK, (Setting((), (url,)),)),
    )


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else b"folder"
        for path in folder.rglob("*")
    }


def test_undo_after_a_power_failure_gives_the_files_from_before(
    power: Power, tmp_path: Path
) -> None:
    count = 1
    while count:
        home, state = tmp_path / f"home-{count}", tmp_path / f"state-{count}"
        home.mkdir()
        state.mkdir()
        (home / ".gitconfig").write_bytes(ORIGINAL)
        journals, files = RecipeJournals(state / "recipes"), ToolFiles()
        power.count, power.last = 0, count
        try:
            for port in (3128, 3129):
                apply("git", _targets(home, port), journals, files)
            undo("git", journals, files)
            is_finished = True
        except PowerFailure:
            is_finished = False
        power.last = None
        assert undo("git", journals, files).left == ()
        assert _files(home) == {".gitconfig": ORIGINAL}
        assert not list((state / "recipes").glob("*.json"))
        if is_finished:
            assert count > 20
            break
        count += 1
