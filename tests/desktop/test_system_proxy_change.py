"""Tests for trayproxy.desktop.system_proxy_change with the notifications of a real kernel."""

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.desktop.timer_loops import ReaderTimerLoop
from tests.support.process_output import PATIENCE
from trayproxy.desktop.system_proxy_change.factory import watch_system_proxy
from trayproxy.desktop.system_proxy_change.linux import LinuxSystemProxyWatch

FILES = ["dconf/user", "environment.d/60-trayproxy.conf", "kioslaverc"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of configuration files, without the watched files."""
    for name in ("dconf", "environment.d"):
        (tmp_path / name).mkdir()
    return tmp_path


def start(loop: ReaderTimerLoop, folder: Path) -> LinuxSystemProxyWatch:
    return LinuxSystemProxyWatch(
        loop,  # type: ignore[arg-type]  # only timers and readers are used
        lambda: None,
        {"XDG_CONFIG_HOME": str(folder)},
    )


@pytest.fixture
def loop_of_watch(folder: Path) -> Iterator[ReaderTimerLoop]:
    """The loop of a watch of the folder."""
    loop = ReaderTimerLoop()
    watch = start(loop, folder)
    yield loop
    watch.close()
    assert loop.run_readers() == 0


def replace(path: Path) -> None:
    new = path.with_name(f"{path.name}.new")
    new.write_text("new")
    new.rename(path)


def write_in_place(path: Path) -> None:
    with path.open("r+" if path.exists() else "w") as file:
        file.write("[Proxy Settings]\n")


def delete(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", [replace, write_in_place, delete])
def test_a_change_of_a_file_is_reported(
    folder: Path, name: str, change: Callable[[Path], None]
) -> None:
    (folder / name).write_text("old")
    loop = ReaderTimerLoop()
    watch = start(loop, folder)
    change(folder / name)
    assert loop.run_readers() == 1
    assert len(loop.timers) == 1
    watch.close()
    assert not loop.timers


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("change", [replace, write_in_place])
def test_a_new_file_is_reported(
    folder: Path, loop_of_watch: ReaderTimerLoop, name: str, change: Callable[[Path], None]
) -> None:
    change(folder / name)
    assert loop_of_watch.run_readers() == 1
    assert loop_of_watch.timers


@pytest.mark.parametrize(
    "name", ["kdeglobals", "user", "dconf/kioslaverc", "dconf/user.other", "environment.d/a.conf"]
)
@pytest.mark.parametrize("change", [replace, write_in_place])
def test_another_file_is_not_reported(
    folder: Path, loop_of_watch: ReaderTimerLoop, name: str, change: Callable[[Path], None]
) -> None:
    change(folder / name)
    delete(folder / name)
    # The kernel queues the events before the calls of the test return.
    assert loop_of_watch.run_readers() == 1
    assert not loop_of_watch.timers


def test_a_file_that_is_only_read_is_not_reported(folder: Path) -> None:
    (folder / "kioslaverc").write_text("old")
    loop = ReaderTimerLoop()
    watch = start(loop, folder)
    assert (folder / "kioslaverc").read_text() == "old"
    assert loop.run_readers() == 0
    watch.close()


def test_missing_folders_are_no_obstacle(tmp_path: Path) -> None:
    loop = ReaderTimerLoop()
    watch = start(loop, tmp_path)
    replace(tmp_path / "kioslaverc")
    loop.run_readers()
    assert loop.timers
    watch.close()


def test_without_any_folder_the_watch_is_refused(tmp_path: Path) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    with pytest.raises(FileNotFoundError):
        start(ReaderTimerLoop(), tmp_path / "missing")
    assert sorted(os.listdir("/proc/self/fd")) == before


def test_too_many_events_count_as_a_change(folder: Path, loop_of_watch: ReaderTimerLoop) -> None:
    limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    # Two names in turn: the kernel merges an event with an equal event before it.
    for _ in range(limit // 2 + 2):
        for name in ("a", "b"):
            (folder / name).write_bytes(b"")
    while loop_of_watch.run_readers():
        pass
    assert loop_of_watch.timers


async def test_the_event_loop_reports_a_change(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    changed = asyncio.Event()
    watch = watch_system_proxy(changed.set)
    replace(folder / "dconf" / "user")
    await asyncio.wait_for(changed.wait(), PATIENCE)
    watch.close()


def test_a_closed_watch_leaves_no_descriptor_open(folder: Path) -> None:
    before = sorted(os.listdir("/proc/self/fd"))
    for _ in range(5):
        start(ReaderTimerLoop(), folder).close()
    assert sorted(os.listdir("/proc/self/fd")) == before
