"""Changes and restorations with failures and crashes between any two writes."""

from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.system_settings.fake_target import UNITS, FakeTarget
from trayproxy.system_settings.apply import NotAppliedError, TargetChange, apply
from trayproxy.system_settings.entries import SettingsTarget, TargetError, Value
from trayproxy.system_settings.journal import Journal, JournalError, JournalFile
from trayproxy.system_settings.record import TargetRecord
from trayproxy.system_settings.restore import Failure, Restored, restore

ORIGINAL: dict[str, Value] = {"host": None, "port": "8080", "exceptions": "[]", "mode": "none"}
OURS: dict[str, Value] = {
    "host": "127.0.0.1",
    "port": "3128",
    "exceptions": "[a]",
    "mode": "manual",
}


class PowerCut(BaseException):
    """The end of the process between two writes."""


@pytest.fixture
def file(tmp_path: Path) -> JournalFile:
    return JournalFile(tmp_path / "system-proxy.json")


@pytest.fixture
def targets() -> list[FakeTarget]:
    return [FakeTarget(dict(ORIGINAL), "gsettings"), FakeTarget(dict(ORIGINAL), "kioslaverc")]


def make_journal(records: tuple[TargetRecord, ...]) -> Journal:
    return Journal(4711, "6f0c", 1.0, records)


def turn_on(
    file: JournalFile, targets: list[FakeTarget], values: dict[str, Value] = OURS
) -> Journal:
    changes = [TargetChange(target, target.read(), values) for target in targets]
    return apply(file, changes, make_journal)


def finder(targets: list[FakeTarget]) -> Callable[[str], SettingsTarget]:
    def find(name: str) -> SettingsTarget:
        for target in targets:
            if target.name == name:
                return target
        raise TargetError("it is unknown")

    return find


def test_settings_are_changed_and_restored(file: JournalFile, targets: list[FakeTarget]) -> None:
    turn_on(file, targets)
    assert [target.values for target in targets] == [OURS, OURS]
    assert restore(file, finder(targets)) == Restored(True, ("kioslaverc", "gsettings"))
    assert [target.values for target in targets] == [ORIGINAL, ORIGINAL]
    assert restore(file, finder(targets)) == Restored()


def test_the_journal_is_on_the_disk_before_the_first_change(
    file: JournalFile, targets: list[FakeTarget]
) -> None:
    seen: list[Journal | None] = []
    targets[0].before_write = lambda: seen.append(file.load())
    journal = turn_on(file, targets)
    assert seen[0] == journal


def test_a_second_change_keeps_the_first_original_values(
    file: JournalFile, targets: list[FakeTarget]
) -> None:
    turn_on(file, targets)
    turn_on(file, targets, OURS | {"port": "3129"})
    assert targets[0].values["port"] == "3129"
    restore(file, finder(targets))
    assert [target.values for target in targets] == [ORIGINAL, ORIGINAL]


def test_a_forgotten_original_is_not_restored(file: JournalFile, targets: list[FakeTarget]) -> None:
    target = targets[0]
    forgotten = ORIGINAL | {"port": None}
    apply(file, [TargetChange(target, target.read(), OURS, forgotten)], make_journal)
    restore(file, finder(targets))
    assert target.values == forgotten


@pytest.mark.parametrize("key", OURS)
@pytest.mark.parametrize("kind", ["refused", "ignored"])
@pytest.mark.parametrize("index", [0, 1])
def test_after_a_failure_nothing_is_changed(
    file: JournalFile, targets: list[FakeTarget], key: str, kind: str, index: int
) -> None:
    getattr(targets[index], kind).add(key)
    with pytest.raises(NotAppliedError) as failure:
        turn_on(file, targets)
    assert (failure.value.target, failure.value.is_rolled_back) == (targets[index].name, True)
    assert key in failure.value.reason
    assert [target.values for target in targets] == [ORIGINAL, ORIGINAL]
    assert file.load() is None


def test_a_failure_of_a_second_change_returns_to_the_first(
    file: JournalFile, targets: list[FakeTarget]
) -> None:
    first = turn_on(file, targets)
    targets[1].refused.add("port")
    with pytest.raises(NotAppliedError):
        turn_on(file, targets, OURS | {"port": "3129"})
    assert [target.values for target in targets] == [OURS, OURS]
    assert file.load() == first


def test_a_failed_roll_back_keeps_the_journal(file: JournalFile, targets: list[FakeTarget]) -> None:
    first, second = targets
    second.refused.add("mode")
    second.before_write = lambda: first.refused.add("mode")
    with pytest.raises(NotAppliedError) as failure:
        turn_on(file, targets)
    assert not failure.value.is_rolled_back
    assert first.values == OURS
    first.refused.clear()
    restore(file, finder(targets))
    assert [target.values for target in targets] == [ORIGINAL, ORIGINAL]


def test_without_a_journal_nothing_is_changed(file: JournalFile, targets: list[FakeTarget]) -> None:
    file.path.mkdir()
    with pytest.raises(NotAppliedError) as failure:
        turn_on(file, targets)
    assert (failure.value.target, failure.value.is_rolled_back) == ("", True)
    assert [target.values for target in targets] == [ORIGINAL, ORIGINAL]


def test_a_damaged_journal_is_not_replaced(file: JournalFile, targets: list[FakeTarget]) -> None:
    file.path.write_text("{")
    with pytest.raises(NotAppliedError, match="it is not complete"):
        turn_on(file, targets)
    with pytest.raises(JournalError):
        restore(file, finder(targets))
    assert file.path.read_text() == "{"
    assert targets[0].values == ORIGINAL


def test_a_target_that_fails_keeps_the_journal_and_the_others_are_restored(
    file: JournalFile, targets: list[FakeTarget]
) -> None:
    turn_on(file, targets)
    targets[1].unreadable = True
    result = restore(file, finder(targets))
    assert result.failures == (Failure("kioslaverc", "it cannot be read"),)
    assert [target.values for target in targets] == [ORIGINAL, OURS]
    targets[1].unreadable = False
    assert restore(file, finder(targets)) == Restored(True, ("kioslaverc",))
    assert [target.values for target in targets] == [ORIGINAL, ORIGINAL]


def test_an_unknown_target_keeps_the_journal(file: JournalFile, targets: list[FakeTarget]) -> None:
    turn_on(file, targets)
    result = restore(file, finder(targets[:1]))
    assert result.failures == (Failure("kioslaverc", "it is unknown"),)
    assert file.load() is not None


def test_values_of_other_programs_are_left_and_named(
    file: JournalFile, targets: list[FakeTarget]
) -> None:
    turn_on(file, targets)
    targets[0].values |= {"host": "proxy.example", "port": "8080"}
    result = restore(file, finder(targets))
    assert result.left == (("gsettings", "address"),)
    assert targets[0].values == {
        "host": "proxy.example",
        "port": "8080",
        "exceptions": "[]",
        "mode": "manual",
    }


def test_on_request_the_values_of_other_programs_are_replaced(
    file: JournalFile, targets: list[FakeTarget]
) -> None:
    turn_on(file, targets)
    targets[0].values["mode"] = "auto"
    assert restore(file, finder(targets), everything=True).left == ()
    assert [target.values for target in targets] == [ORIGINAL, ORIGINAL]


# --- Random originals, random changes by others, random crashes --------------------------------

values = st.none() | st.sampled_from(["127.0.0.1", "3128", "8080", "manual", "none", "[]", "x"])
entries = st.fixed_dictionaries(dict.fromkeys(ORIGINAL, values))
changes_by_others = st.dictionaries(st.sampled_from(list(ORIGINAL)), values)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("on"), entries, st.integers(0, 12)),
        st.tuples(st.just("off"), st.just({}), st.integers(0, 12)),
        st.tuples(st.just("other"), changes_by_others, st.just(0)),
    ),
    max_size=6,
)


def crash_after(count: int) -> Callable[[], None]:
    left = iter(range(count))

    def step() -> None:
        if next(left, None) is None:
            raise PowerCut

    return step


@pytest.fixture(scope="module")
def folders() -> Iterator[Path]:
    with TemporaryDirectory() as folder:
        yield Path(folder)


@given(original=entries, ours=entries, count=st.integers(0, 8))
def test_after_a_power_cut_between_any_two_writes_the_original_values_return(
    folders: Path, original: dict[str, Value], ours: dict[str, Value], count: int
) -> None:
    file = JournalFile(folders / "journal")
    targets = [FakeTarget(dict(original), "gsettings"), FakeTarget(dict(original), "kioslaverc")]
    cut = crash_after(count)
    for target in targets:
        target.before_write = cut
    try:
        turn_on(file, targets, ours)
    except PowerCut:
        pass
    for again in range(3):
        for target in targets:
            target.before_write = crash_after(again)
        try:
            restore(file, finder(targets))
        except PowerCut:
            pass
    for target in targets:
        target.before_write = lambda: None
    restore(file, finder(targets))
    assert [target.values for target in targets] == [original, original]
    assert file.load() is None


@given(original=entries, script=steps)
def test_every_unit_has_its_original_values_or_those_of_another_program(
    folders: Path, original: dict[str, Value], script: list[tuple[str, dict[str, Value], int]]
) -> None:
    """Turn on and off with crashes, and let other programs change entries at any time.

    A unit that another program has changed to values of its own counts as the other program's.
    """
    file = JournalFile(folders / "journal")
    target = FakeTarget(dict(original))
    base = dict(original)  # The values to restore: the original ones and later ones of others.
    for kind, new, count in script:
        target.before_write = crash_after(count)
        before = file.load()
        try:
            if kind == "on":
                turn_on(file, [target], new)
            elif kind == "off":
                restore(file, finder([target]))
            else:
                target.values |= new
        except PowerCut:
            pass
        if before is None and kind == "on":
            base = dict(file.load().targets[0].original) if file.load() else base  # type: ignore[union-attr]
        if before is None and kind == "other":
            base = dict(target.values)
    target.before_write = lambda: None
    journal = file.load()
    present = dict(target.values)
    result = restore(file, finder([target]))
    others = {name for _, name in result.left}
    for unit in UNITS:
        now = {key: target.values[key] for key in unit.keys}
        if journal is None or unit.name in others:
            assert now == {key: present[key] for key in unit.keys}
        elif not others.intersection(unit.used_by):
            assert now == {key: base[key] for key in unit.keys}
    after = dict(target.values)
    restore(file, finder([target]))
    assert target.values == after
    assert file.load() is None
