import os
from pathlib import Path
from zlib import crc32

import pytest

from trayproxy.pac.stored_copy import (
    MAX_COPIES,
    DamagedCopyError,
    StoredCopy,
    Validators,
    load_copy,
    store_copy,
)
from trayproxy.profiles.pac_source import PacKind, PacSource

SOURCE = PacSource(PacKind.URL, "http://pac.example/x.pac?token=secret")
COPY = StoredCopy("function FindProxyForURL() {} // ü\u2028\ud800", 1764513593.5, Validators('"5"'))


def test_a_copy_is_returned_as_stored(tmp_path: Path) -> None:
    folder = tmp_path / "pac"
    assert load_copy(folder, SOURCE) is None
    store_copy(folder, SOURCE, COPY)
    assert load_copy(folder, SOURCE) == COPY
    assert load_copy(folder, PacSource(PacKind.URL, "http://pac.example/x.pac")) is None
    [file] = folder.iterdir()
    assert "secret" not in file.name


def test_another_source_with_the_same_checksum_has_no_copy(tmp_path: Path) -> None:
    one, other = (PacSource(PacKind.URL, f"http://{name}/") for name in ("plumless", "buckeroo"))
    assert crc32(str(one).encode()) == crc32(str(other).encode())
    store_copy(tmp_path, one, COPY)
    assert load_copy(tmp_path, one) == COPY
    assert load_copy(tmp_path, other) is None


@pytest.mark.unix
def test_only_this_user_can_read_a_copy(tmp_path: Path) -> None:
    store_copy(tmp_path / "pac", SOURCE, COPY)
    [file] = (tmp_path / "pac").iterdir()
    assert (file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777) == (0o600, 0o700)


def test_a_damaged_copy_is_no_copy(tmp_path: Path) -> None:
    store_copy(tmp_path, SOURCE, COPY)
    [file] = tmp_path.iterdir()
    whole = file.read_bytes()
    for damaged in (
        b"",
        whole[:-20],
        whole[: len(whole) // 2],
        whole.replace(b"FindProxy", b"FindProxi"),
        whole.replace(b'"schema": 1', b'"schema": 2'),
        b"[" * 100_000,
        b'{"schema": 1, "crc": 5, "script": 5}',
        b"[]",
        b"\xff",
    ):
        file.write_bytes(damaged)
        with pytest.raises(DamagedCopyError, match="it is damaged"):
            load_copy(tmp_path, SOURCE)
    store_copy(tmp_path, SOURCE, COPY)
    assert load_copy(tmp_path, SOURCE) == COPY


def test_a_folder_in_the_place_of_a_copy_is_reported(tmp_path: Path) -> None:
    store_copy(tmp_path, SOURCE, COPY)
    [file] = tmp_path.iterdir()
    file.unlink()
    file.mkdir()
    with pytest.raises(DamagedCopyError):
        load_copy(tmp_path, SOURCE)


def test_the_oldest_copies_are_deleted(tmp_path: Path) -> None:
    sources = [PacSource(PacKind.URL, f"http://pac.example/{n}") for n in range(MAX_COPIES + 3)]
    for age, source in enumerate(sources):
        store_copy(tmp_path, source, COPY)
        newest = max(tmp_path.iterdir(), key=lambda path: path.stat().st_mtime_ns)
        os.utime(newest, (age, age))
    kept = [source for source in sources if load_copy(tmp_path, source) is not None]
    assert len(kept) == MAX_COPIES
    assert kept[-1] == sources[-1]
