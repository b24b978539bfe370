import json
import os
from pathlib import Path

import pytest

from tests.system_settings.fake_target import UNITS
from trayproxy.system_settings.journal import (
    MAX_SIZE,
    DamagedJournalError,
    Journal,
    JournalError,
    JournalFile,
    decode,
    encode,
)
from trayproxy.system_settings.record import new_record

RECORD = new_record(
    "fake",
    UNITS,
    {"host": None, "port": "8080", "exceptions": "['ü', '\u202e\"']", "mode": "none"},
    {"host": "127.0.0.1", "port": "3128", "exceptions": None, "mode": "manual"},
)
JOURNAL = Journal(4711, "6f0c", 1764513593.5, (RECORD,))


@pytest.fixture
def file(tmp_path: Path) -> JournalFile:
    return JournalFile(tmp_path / "system-proxy.json")


def test_a_journal_is_read_as_it_was_written(file: JournalFile) -> None:
    file.save(JOURNAL)
    assert file.load() == JOURNAL
    assert JOURNAL.record_of("fake") == RECORD
    assert JOURNAL.record_of("kioslaverc") is None


@pytest.mark.unix
def test_only_its_user_can_read_a_journal(file: JournalFile) -> None:
    file.save(JOURNAL)
    assert file.path.stat().st_mode & 0o777 == 0o600


def test_without_a_file_there_is_no_journal(file: JournalFile) -> None:
    assert file.load() is None
    file.remove()
    assert file.load() is None


def test_a_removed_journal_is_gone(file: JournalFile) -> None:
    file.save(JOURNAL)
    file.remove()
    assert list(file.path.parent.iterdir()) == []


def test_the_file_of_a_killed_process_is_replaced(file: JournalFile) -> None:
    file.path.with_name(".system-proxy.json.trayproxy-new").write_text("half")
    file.save(JOURNAL)
    assert file.load() == JOURNAL
    assert [path.name for path in file.path.parent.iterdir()] == ["system-proxy.json"]


def damage(octets: bytes) -> str:
    """Return the reason why a journal is damaged; empty if it is not."""
    try:
        decode(octets)
    except DamagedJournalError as error:
        return error.reason
    return ""


def test_half_a_journal_is_damaged() -> None:
    octets = encode(JOURNAL)
    reasons = {cut: damage(octets[:cut]) for cut in range(1, len(octets) - 1, 7)}
    assert {cut: why for cut, why in reasons.items() if "it is not complete" not in why} == {}


MEMBERS = json.loads(encode(JOURNAL))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        pytest.param(MEMBERS | {"schema": 2}, "another version", id="schema"),
        pytest.param([MEMBERS], "another version", id="a list"),
        pytest.param(MEMBERS | {"pid": "1"}, "unknown contents", id="pid"),
        pytest.param(MEMBERS | {"boot": None}, "unknown contents", id="boot"),
        pytest.param(MEMBERS | {"written_at": "today"}, "unknown contents", id="time"),
        pytest.param(MEMBERS | {"targets": {}}, "unknown contents", id="targets"),
        pytest.param(MEMBERS | {"targets": [{}]}, "unknown contents", id="no members"),
        pytest.param(
            MEMBERS | {"targets": [MEMBERS["targets"][0] | {"original": {"host": None}}]},
            "unknown contents",
            id="missing original values",
        ),
        pytest.param(
            MEMBERS | {"targets": [MEMBERS["targets"][0] | {"written": {}}]},
            "unknown contents",
            id="missing written values",
        ),
        pytest.param(
            MEMBERS | {"targets": [MEMBERS["targets"][0] | {"original": []}]},
            "unknown contents",
            id="original values in a list",
        ),
    ],
)
def test_unknown_contents_are_damaged(changed: object, reason: str) -> None:
    with pytest.raises(DamagedJournalError, match=reason):
        decode(json.dumps(changed).encode())


def test_a_file_that_is_too_large_is_damaged(file: JournalFile) -> None:
    file.path.write_bytes(b" " * (MAX_SIZE + 1))
    with pytest.raises(DamagedJournalError, match="too large"):
        file.load()


def test_a_damaged_journal_is_set_aside(file: JournalFile) -> None:
    for number in (1, 2):
        file.path.write_text(f"damage {number}")
        aside = file.set_aside()
        assert aside.name == f"system-proxy.json.damaged-{number}"
        assert aside.read_text() == f"damage {number}"
    assert file.load() is None


def test_a_folder_in_the_place_of_the_journal_is_an_error(file: JournalFile) -> None:
    file.path.mkdir()
    for step in (file.load, lambda: file.save(JOURNAL), file.remove):
        with pytest.raises(JournalError):
            step()
    assert [path.name for path in file.path.parent.iterdir()] == ["system-proxy.json"]


def test_on_a_full_disk_the_older_journal_stays(
    file: JournalFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    file.save(JOURNAL)

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(JournalError, match="No space left on device"):
        file.save(Journal(1, "", 0.0, ()))
    monkeypatch.undo()
    assert file.load() == JOURNAL
    assert os.listdir(file.path.parent) == ["system-proxy.json"]


def test_a_journal_that_could_not_be_read_again_is_not_written(file: JournalFile) -> None:
    file.save(JOURNAL)
    target = "x" * MAX_SIZE
    with pytest.raises(JournalError, match="it would become too large"):
        file.save(Journal(4711, "", 0.0, (new_record(target, UNITS, {}, {}),)))
    assert file.load() == JOURNAL
