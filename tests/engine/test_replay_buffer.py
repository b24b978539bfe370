import os
from pathlib import Path

import pytest

from trayproxy.engine.net.socket_stream import CHUNK
from trayproxy.engine.transfer.replay_buffer import MAX_IN_MEMORY, MAX_REPLAYABLE, ReplayBuffer


def kept_of(*parts: bytes) -> ReplayBuffer:
    kept = ReplayBuffer(enabled=True)
    for part in parts:
        kept.append(part)
    return kept


def all_of(kept: ReplayBuffer) -> bytes:
    kept.rewind()
    return b"".join(iter(kept.read, b""))


@pytest.mark.parametrize("length", [0, 1, CHUNK, MAX_IN_MEMORY, MAX_IN_MEMORY + 1, 3 << 20])
def test_what_was_kept_comes_back_each_time(length: int) -> None:
    data = os.urandom(length)
    kept = kept_of(data[: length // 3], data[length // 3 :])
    assert all_of(kept) == all_of(kept) == data
    kept.close()


def test_keeping_goes_on_after_reading() -> None:
    kept = kept_of(b"one")
    assert all_of(kept) == b"one"
    kept.append(b"two")
    assert all_of(kept) == b"onetwo"
    kept.close()


def test_little_is_kept_in_memory_and_much_in_a_file_without_a_name_r_074(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    kept = kept_of(bytes(MAX_IN_MEMORY))
    assert len(os.listdir("/proc/self/fd")) == before
    kept.append(b"more")
    assert len(os.listdir("/proc/self/fd")) == before + 1
    assert not list(tmp_path.iterdir())
    kept.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_too_much_is_not_kept_at_all() -> None:
    block = bytes(1 << 20)
    kept = kept_of(*[block] * (MAX_REPLAYABLE // len(block)))
    was_whole = kept.is_complete
    kept.append(b"x")
    assert (was_whole, kept.is_complete) == (True, False)
    assert all_of(kept) == b""


def test_what_is_not_wanted_is_not_kept() -> None:
    kept = ReplayBuffer(enabled=False)
    kept.append(b"data")
    assert (kept.is_complete, all_of(kept)) == (False, b"")


def test_a_disk_that_takes_nothing_ends_the_keeping_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    kept = kept_of(bytes(MAX_IN_MEMORY))
    kept.append(b"more")
    assert not kept.is_complete


def test_much_content_is_not_at_hand() -> None:
    kept = kept_of(bytes(MAX_IN_MEMORY), b"x")
    assert kept.read_all() is None
    kept.close()
