"""Tests for trayproxy.recipes.journal."""

import json
import stat
from pathlib import Path

import pytest

from trayproxy.recipes.formats.setting import Format, Setting
from trayproxy.recipes.journal import (
    MAX_SIZE,
    FileRecord,
    RecipeJournal,
    RecipeJournals,
    Version,
    decode,
    encode,
)
from trayproxy.recipes.spans import Span
from trayproxy.system_settings.journal import DamagedJournalError, JournalError

SETTINGS = (
    Setting(("a",), True),
    Setting(("b",), 1),
    Setting((), ("x", "y")),
    Setting(("c",), "d"),
)
RECORD = FileRecord(
    "/home/jdoe/.gitconfig",
    Format.GIT,
    None,
    ("/home/jdoe",),
    (Version("ab", (Span(3, b"\xff\x00", b""),), SETTINGS),),
)
JOURNAL = RecipeJournal("git", (RECORD,))


def test_a_journal_survives_being_written(tmp_path: Path) -> None:
    journals = RecipeJournals(tmp_path / "recipes")
    assert journals.load("git") is None
    assert journals.tools() == ()
    journals.save(JOURNAL)
    assert journals.load("git") == JOURNAL
    assert journals.tools() == ("git",)
    assert journals.created_folders() == {"/home/jdoe"}
    journals.save(RecipeJournal("git", ()))
    assert journals.tools() == ()
    journals.save(RecipeJournal("git", ()))


@pytest.mark.unix
def test_a_journal_is_private(tmp_path: Path) -> None:
    RecipeJournals(tmp_path / "recipes").save(JOURNAL)
    file = tmp_path / "recipes" / "git.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def is_damaged(octets: bytes) -> bool:
    try:
        decode(octets, "git")
    except DamagedJournalError:
        return True
    return False


def test_an_incomplete_journal_is_damaged() -> None:
    octets = encode(JOURNAL)
    lengths = range(0, len(octets) - 2, 7)
    assert [length for length in lengths if not is_damaged(octets[:length])] == []


@pytest.mark.parametrize(
    "change",
    [{"schema": 2}, {"tool": "npm"}, {"files": [{}]}, {"files": None}, {"more": 1}, {"tool": 1}],
)
def test_other_contents_are_damaged(change: dict[str, object]) -> None:
    octets = json.dumps({**json.loads(encode(JOURNAL)), **change}).encode()
    with pytest.raises(DamagedJournalError):
        decode(octets, "git")


@pytest.mark.parametrize("octets", [b"", b"\xff", b"[]", b"{}", b" " * (MAX_SIZE + 1)])
def test_other_files_are_damaged(octets: bytes, tmp_path: Path) -> None:
    journals = RecipeJournals(tmp_path)
    (tmp_path / "git.json").write_bytes(octets)
    with pytest.raises(DamagedJournalError):
        journals.load("git")
    assert journals.created_folders() == frozenset()
    aside = journals.set_aside("git")
    assert aside.read_bytes() == octets
    assert journals.tools() == ()


def test_a_folder_in_place_of_a_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "recipes").write_bytes(b"")
    journals = RecipeJournals(tmp_path / "recipes")
    with pytest.raises(JournalError):
        journals.save(JOURNAL)
    (tmp_path / "git.json").mkdir()
    with pytest.raises(JournalError):
        RecipeJournals(tmp_path).load("git")


def test_a_path_that_json_cannot_express_is_an_error(tmp_path: Path) -> None:
    record = FileRecord("/home/\udcff", Format.GIT, None, (), ())
    with pytest.raises(JournalError):
        RecipeJournals(tmp_path).save(RecipeJournal("git", (record,)))


def test_a_newer_record_replaces_the_record_of_the_same_file() -> None:
    newer = FileRecord(RECORD.path, Format.INI, None, (), ())
    other = FileRecord("/other", Format.INI, None, (), ())
    journal = JOURNAL.with_records([newer, other])
    assert journal.files == (newer, other)
    assert journal.record_of("/other") == other
    assert journal.record_of("/none") is None
