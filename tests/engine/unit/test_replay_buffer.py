import os
from pathlib import Path

import pytest

from trayproxy.engine.net.socket_stream import CHUNK
from trayproxy.engine.transfer.replay_buffer import MAX_IN_MEMORY, MAX_REPLAYABLE, ReplayBuffer


def buffer_with(*parts: bytes) -> ReplayBuffer:
    buffer = ReplayBuffer(enabled=True)
    for part in parts:
        buffer.append(part)
    return buffer


def read_from_start(buffer: ReplayBuffer) -> bytes:
    buffer.rewind()
    return b"".join(iter(buffer.read, b""))


@pytest.mark.parametrize("length", [0, 1, CHUNK, MAX_IN_MEMORY, MAX_IN_MEMORY + 1, 3 << 20])
def test_the_content_can_be_read_repeatedly(length: int) -> None:
    data = os.urandom(length)
    buffer = buffer_with(data[: length // 3], data[length // 3 :])
    assert read_from_start(buffer) == read_from_start(buffer) == data
    buffer.close()


def test_octets_can_be_appended_after_reading() -> None:
    buffer = buffer_with(b"one")
    assert read_from_start(buffer) == b"one"
    buffer.append(b"two")
    assert read_from_start(buffer) == b"onetwo"
    buffer.close()


@pytest.mark.unix
def test_small_content_is_kept_in_memory_and_large_content_in_a_file_without_a_name_r_074(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    buffer = buffer_with(bytes(MAX_IN_MEMORY))
    assert len(os.listdir("/proc/self/fd")) == before
    buffer.append(b"more")
    assert len(os.listdir("/proc/self/fd")) == before + 1
    assert not list(tmp_path.iterdir())
    buffer.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_content_above_the_limit_is_discarded() -> None:
    block = bytes(1 << 20)
    buffer = buffer_with(*[block] * (MAX_REPLAYABLE // len(block)))
    was_whole = buffer.is_complete
    buffer.append(b"x")
    assert (was_whole, buffer.is_complete) == (True, False)
    assert read_from_start(buffer) == b""


def test_a_disabled_buffer_keeps_nothing() -> None:
    buffer = ReplayBuffer(enabled=False)
    buffer.append(b"data")
    assert (buffer.is_complete, read_from_start(buffer)) == (False, b"")


def test_a_write_error_discards_the_content_without_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "missing"))
    buffer = buffer_with(bytes(MAX_IN_MEMORY))
    buffer.append(b"more")
    assert not buffer.is_complete


def test_read_all_returns_none_above_the_memory_limit() -> None:
    buffer = buffer_with(bytes(MAX_IN_MEMORY), b"x")
    assert buffer.read_all() is None
    buffer.close()
