"""Tests for trayproxy.recipes.apply: also after a crash between any two writes."""

from collections.abc import Callable

import pytest

from tests.recipes.fake_files import Disk, MemoryJournals, PowerFailure
from trayproxy.recipes.apply import State, apply, state, undo
from trayproxy.recipes.formats.setting import Format, Setting
from trayproxy.recipes.plan import FileTarget, LeftAloneError
from trayproxy.system_settings.apply import NotAppliedError
from trayproxy.system_settings.journal import DamagedJournalError, JournalError

GIT, SHELL = "/home/jdoe/.gitconfig", "/home/jdoe/.config/git/rc"
ORIGINAL = {GIT: b"[user]\n\tname = J\n"}


def targets(port: int = 3128) -> tuple[FileTarget, ...]:
    url = f"http://127.0.0.1:{port}"
    return (
        FileTarget(GIT, Format.GIT, (Setting(("http", "proxy"), url),)),
        FileTarget(SHELL, Format.BLOCK, (Setting((), (f"export a={url}",)),)),
    )


def applied(port: int = 3128) -> tuple[Disk, MemoryJournals]:
    disk = Disk(ORIGINAL)
    journals = MemoryJournals(disk)
    apply("git", targets(port), journals, disk)
    return disk, journals


def is_as_before(disk: Disk) -> bool:
    return disk.files == ORIGINAL and not disk.journals and "/home/jdoe/.config" not in disk.folders


def state_of(disk: Disk, port: int = 3128) -> State:
    return state("git", targets(port), MemoryJournals(disk), disk)[0]


def test_apply_and_undo_and_their_states() -> None:
    disk = Disk(ORIGINAL)
    journals = MemoryJournals(disk)
    assert state_of(disk) is State.OFF
    assert apply("git", targets(), journals, disk) == (GIT, SHELL)
    assert state_of(disk) is State.APPLIED
    assert b"http://127.0.0.1:3128" in disk.files[GIT]
    assert apply("git", targets(), journals, disk) == ()
    undone = undo("git", journals, disk)
    assert (undone.changed, undone.left, undone.had_journal) == ((GIT, SHELL), (), True)
    assert is_as_before(disk)
    assert state_of(disk) is State.OFF
    assert not undo("git", journals, disk).had_journal


def test_a_moved_port_is_shown_and_corrected() -> None:
    disk, journals = applied(3128)
    assert state_of(disk, 3129) is State.OUTDATED
    assert apply("git", targets(3129), journals, disk) == (GIT, SHELL)
    assert state_of(disk, 3129) is State.APPLIED
    assert not any(b"3128" in octets for octets in disk.files.values())
    undo("git", journals, disk)
    assert is_as_before(disk)


def _apply(disk: Disk) -> None:
    apply("git", targets(), MemoryJournals(disk), disk)


def _apply_again(disk: Disk) -> None:
    apply("git", targets(3129), MemoryJournals(disk), disk)


def _undo(disk: Disk) -> None:
    undo("git", MemoryJournals(disk), disk)


@pytest.mark.parametrize(
    ("earlier", "interrupted"),
    [((), _apply), ((_apply,), _apply_again), ((_apply,), _undo), ((_apply, _apply_again), _undo)],
)
@pytest.mark.parametrize("afterwards", [(_undo,), (_apply, _undo), (_apply_again, _undo, _undo)])
def test_a_crash_before_any_write_loses_nothing(
    earlier: tuple[Callable[[Disk], None], ...],
    interrupted: Callable[[Disk], None],
    afterwards: tuple[Callable[[Disk], None], ...],
) -> None:
    for writes in range(100):
        disk = Disk(ORIGINAL)
        for step in earlier:
            step(disk)
        disk.writes_left = writes
        try:
            interrupted(disk)
        except PowerFailure:
            is_complete = False
        else:
            is_complete = True
        disk.writes_left = None
        for step in afterwards:
            step(disk)
        assert is_as_before(disk)
        if is_complete:
            assert writes > 3
            return
    raise AssertionError("the sequence of writes does not end")


@pytest.mark.parametrize("fault", ["refused", "ignored"])
@pytest.mark.parametrize("path", [GIT, SHELL])
def test_after_a_failed_write_all_files_are_as_before(fault: str, path: str) -> None:
    disk = Disk(ORIGINAL)
    getattr(disk, fault).add(path)
    with pytest.raises(NotAppliedError) as caught:
        apply("git", targets(), MemoryJournals(disk), disk)
    assert caught.value.target == path
    assert caught.value.is_rolled_back
    assert is_as_before(disk)


def test_a_failed_change_of_the_port_keeps_the_old_port() -> None:
    disk, journals = applied()
    present = dict(disk.files)
    disk.refused.add(SHELL)
    with pytest.raises(NotAppliedError):
        apply("git", targets(3129), journals, disk)
    assert disk.files == present
    assert state_of(disk) is State.APPLIED
    disk.refused.clear()
    undo("git", journals, disk)
    assert is_as_before(disk)


def test_a_full_disk_stops_a_recipe_before_the_first_change() -> None:
    disk = Disk(ORIGINAL)
    disk.is_full = True
    with pytest.raises(JournalError):
        apply("git", targets(), MemoryJournals(disk), disk)
    assert disk.files == ORIGINAL


def test_one_file_that_must_be_left_alone_stops_the_whole_recipe() -> None:
    disk = Disk({**ORIGINAL, GIT: b"[broken\n"})
    with pytest.raises(LeftAloneError):
        apply("git", targets(), MemoryJournals(disk), disk)
    assert SHELL not in disk.files
    assert not disk.journals


def test_undo_leaves_a_changed_file_alone_and_restores_the_others() -> None:
    disk, journals = applied()
    disk.files[GIT] += b"[core]\n"
    changed = disk.files[GIT]
    for _ in range(2):
        undone = undo("git", journals, disk)
        assert [(e.path, e.lines) for e in undone.left] == [
            (GIT, ("http.proxy = http://127.0.0.1:3128",))
        ]
        assert disk.files == {GIT: changed}
        assert state_of(disk) is State.CHANGED
    # The user removes the line.
    disk.files[GIT] = b"[user]\n\tname = J\n[core]\n"
    assert undo("git", journals, disk).left == ()
    assert not disk.journals


def test_an_empty_folder_is_removed_by_the_recipe_that_is_undone_last() -> None:
    disk, journals = applied()
    other = FileTarget("/home/jdoe/.config/fish/rc", Format.BLOCK, (Setting((), ("set a 1",)),))
    apply("fish", (other,), journals, disk)
    undo("git", journals, disk)
    assert "/home/jdoe/.config" in disk.folders
    undo("fish", journals, disk)
    assert is_as_before(disk)


def test_a_folder_that_another_program_uses_stays() -> None:
    disk, journals = applied()
    disk.files["/home/jdoe/.config/git/other"] = b"x"
    undo("git", journals, disk)
    assert "/home/jdoe/.config/git" in disk.folders


def test_the_contents_of_a_damaged_journal_are_not_guessed() -> None:
    disk, journals = applied()
    present = dict(disk.files)
    disk.journals["git"] = disk.journals["git"][:-9]
    for call in (lambda: undo("git", journals, disk), lambda: _apply(disk)):
        with pytest.raises(DamagedJournalError):
            call()
    assert disk.files == present
    found, reason = state("git", targets(), journals, disk)
    assert (found, "not complete" in reason) == (State.UNKNOWN, True)


def test_settings_of_the_user_are_not_those_of_trayproxy() -> None:
    disk, journals = applied()
    disk.journals.clear()
    assert state_of(disk) is State.BY_USER
    assert apply("git", targets(), journals, disk) == ()
    assert not disk.journals


def test_a_file_that_a_recipe_got_later_is_missing_until_it_is_applied_again() -> None:
    disk = Disk(ORIGINAL)
    journals = MemoryJournals(disk)
    apply("git", targets()[:1], journals, disk)
    assert state_of(disk) is State.OUTDATED
    apply("git", targets(), journals, disk)
    assert state_of(disk) is State.APPLIED


def test_a_file_at_an_earlier_path_is_undone_as_well() -> None:
    disk, journals = applied()
    apply("git", targets()[:1], journals, disk)
    assert state("git", targets()[:1], journals, disk)[0] is State.OUTDATED
    undo("git", journals, disk)
    assert is_as_before(disk)
