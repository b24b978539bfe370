"""Changes and restorations with failures and crashes between any two writes."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.system_settings.fake_target import UNITS, VPN_UNITS, FakeTarget
from trayproxy.system_settings.apply import NotAppliedError, RefusedPart, TargetChange, apply
from trayproxy.system_settings.entries import TargetError, Value, Values
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
) -> tuple[RefusedPart, ...]:
    changes = [TargetChange(target, target.read(), values) for target in targets]
    return apply(file, changes, make_journal)


def finder(targets: list[FakeTarget]) -> Callable[[str], FakeTarget]:
    def find(name: str) -> FakeTarget:
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
    turn_on(file, targets)
    assert seen[0] == file.load()


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
    turn_on(file, targets)
    first = file.load()
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
    assert [record.target for record in result.rest] == ["kioslaverc"]
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


# --- Parts that are missing or refuse a change ----------------------------------------------------

VPN: dict[str, Value] = {"host of vpn": "old", "port of vpn": None, "mode of vpn": "none"}
OUR_VPN: dict[str, Value] = {
    "host of vpn": "127.0.0.1",
    "port of vpn": "3128",
    "mode of vpn": "manual",
}


@pytest.fixture
def wininet() -> FakeTarget:
    """Return a target with a connection that may be missing."""
    return FakeTarget(ORIGINAL | VPN, "wininet", (*UNITS, *VPN_UNITS))


def test_a_part_that_is_missing_is_restored_when_it_is_back(
    file: JournalFile, wininet: FakeTarget
) -> None:
    turn_on(file, [wininet], OURS | OUR_VPN)
    wininet.missing.add("vpn")
    for _ in range(2):
        result = restore(file, finder([wininet]))
        assert [record.units for record in result.rest] == [VPN_UNITS]
        assert wininet.values == ORIGINAL | OUR_VPN
    journal = file.load()
    assert journal is not None
    assert journal.pid == 0
    wininet.missing.clear()
    assert restore(file, finder([wininet])) == Restored(True, ("wininet",))
    assert wininet.values == ORIGINAL | VPN
    assert file.load() is None


def test_the_original_values_of_a_missing_part_survive_another_change(
    file: JournalFile, wininet: FakeTarget
) -> None:
    turn_on(file, [wininet], OURS | OUR_VPN)
    wininet.missing.add("vpn")
    restore(file, finder([wininet]))
    turn_on(file, [wininet], OURS | {"port": "3129"} | OUR_VPN)
    wininet.missing.clear()
    restore(file, finder([wininet]))
    assert wininet.values == ORIGINAL | VPN


def test_a_missing_part_that_another_program_has_changed_is_left(
    file: JournalFile, wininet: FakeTarget
) -> None:
    turn_on(file, [wininet], OURS | OUR_VPN)
    wininet.missing.add("vpn")
    restore(file, finder([wininet]))
    wininet.missing.clear()
    wininet.values |= {"host of vpn": "other", "mode of vpn": "auto"}
    assert restore(file, finder([wininet])).left == (
        ("wininet", "address of vpn"),
        ("wininet", "mode of vpn"),
    )
    assert file.load() is None


@pytest.mark.parametrize("kind", ["refused", "ignored"])
def test_a_part_that_refuses_a_change_is_skipped(
    file: JournalFile, wininet: FakeTarget, kind: str
) -> None:
    getattr(wininet, kind).add("port of vpn")
    [refusal] = turn_on(file, [wininet], OURS | OUR_VPN)
    assert (refusal.target, refusal.part) == ("wininet", "vpn")
    assert "port of vpn" in refusal.reason
    assert wininet.values == OURS | VPN
    restore(file, finder([wininet]))
    assert wininet.values == ORIGINAL | VPN
    assert file.load() is None


def test_a_part_that_also_refuses_its_old_values_stays_in_the_journal(
    file: JournalFile, wininet: FakeTarget
) -> None:
    wininet.refused.add("mode of vpn")
    wininet.before_write = lambda: (
        wininet.refused.add("host of vpn") if wininet.values["port of vpn"] == "3128" else None
    )
    turn_on(file, [wininet], OURS | OUR_VPN)
    assert wininet.values["host of vpn"] == "127.0.0.1"
    assert restore(file, finder([wininet])).rest
    wininet.refused.clear()
    wininet.before_write = lambda: None
    restore(file, finder([wininet]))
    assert wininet.values == ORIGINAL | VPN


def test_if_every_part_refuses_the_change_fails(file: JournalFile, wininet: FakeTarget) -> None:
    wininet.units = VPN_UNITS
    wininet.values = dict(VPN)
    wininet.refused.add("mode of vpn")
    with pytest.raises(NotAppliedError, match="mode of vpn is read-only"):
        turn_on(file, [wininet], OUR_VPN)
    assert wininet.values == VPN
    assert file.load() is None


# --- Original values that do not work any more ----------------------------------------------------

DEAD: dict[str, Value] = {**ORIGINAL, "host": "dead", "mode": "manual"}


def without_dead_host(target: FakeTarget, record: TargetRecord, values: Values) -> Values:
    """Return the values without a proxy of which the host is “dead”."""
    changed = dict(values)
    for suffix in ("", " of vpn"):
        if values.get(f"host{suffix}") == "dead" and not record.restores_dead:
            changed |= {f"{name}{suffix}": None for name in ("host", "port", "mode")}
    return changed


def restore_living(
    file: JournalFile, targets: list[FakeTarget], *, keeps_withheld: bool = True
) -> Restored:
    return restore(file, finder(targets), without_dead_host, keeps_withheld=keeps_withheld)


def test_a_dead_original_is_withheld_and_kept(file: JournalFile) -> None:
    target = FakeTarget(dict(DEAD))
    turn_on(file, [target])
    for _ in range(2):
        [rest] = restore_living(file, [target]).rest
        assert (set(rest.withheld), rest.original["host"]) == ({"address", "mode"}, "dead")
        assert target.values == {"host": None, "port": None, "exceptions": "[]", "mode": None}
    assert restore(file, finder([target])).rest == ()
    assert target.values == DEAD
    assert file.load() is None


def test_a_withheld_original_is_not_restored_by_itself(file: JournalFile) -> None:
    target = FakeTarget(dict(DEAD))
    turn_on(file, [target])
    restore_living(file, [target])
    restore(file, finder([target]), keeps_withheld=True)
    assert target.values["mode"] is None


def test_a_withheld_original_is_kept_over_another_change(file: JournalFile) -> None:
    target = FakeTarget(dict(DEAD))
    turn_on(file, [target])
    restore_living(file, [target])
    turn_on(file, [target])
    assert restore(file, finder([target]), keeps_withheld=True).rest == ()
    assert target.values == DEAD


def test_a_withheld_original_is_dropped_when_another_program_has_set_a_proxy(
    file: JournalFile,
) -> None:
    target = FakeTarget(dict(DEAD))
    turn_on(file, [target])
    restore_living(file, [target])
    target.values |= {"host": "other", "port": "81", "mode": "other"}
    restore_living(file, [target])
    assert target.values["host"] == "other"
    assert file.load() is None


def test_a_dead_original_that_the_user_wants_is_restored(file: JournalFile) -> None:
    target = FakeTarget(dict(DEAD))
    change = TargetChange(target, target.read(), OURS, restores_dead=True)
    apply(file, [change], make_journal)
    restore_living(file, [target])
    assert target.values == DEAD
    assert file.load() is None


def test_without_a_change_of_trayproxy_a_dead_proxy_is_left(file: JournalFile) -> None:
    target = FakeTarget(dict(DEAD))

    def crash() -> None:
        raise PowerCut

    target.before_write = crash
    with pytest.raises(PowerCut):
        turn_on(file, [target])
    target.before_write = lambda: None
    restore_living(file, [target])
    assert target.values == DEAD
    assert file.load() is None


def test_on_a_full_disk_a_dead_original_is_withheld_nevertheless(
    file: JournalFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = FakeTarget(dict(DEAD))
    turn_on(file, [target])

    def full(path: Path, octets: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("trayproxy.system_settings.journal.replace_file", full)
    with pytest.raises(JournalError, match="No space left on device"):
        restore_living(file, [target])
    assert target.values["mode"] is None


# --- Random originals, random changes by others, random crashes --------------------------------

values = st.none() | st.sampled_from(["127.0.0.1", "3128", "8080", "manual", "none", "[]", "x"])
entries = st.fixed_dictionaries(dict.fromkeys(ORIGINAL, values))


def crash_after(count: int) -> Callable[[], None]:
    left = iter(range(count))

    def step() -> None:
        if next(left, None) is None:
            raise PowerCut

    return step


@pytest.fixture(scope="module")
def folders() -> Iterator[Path]:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        # The process is not killed, so nothing depends on the disk.
        patch.setattr(os, "fsync", lambda descriptor: None)
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


UNITS_WITH_VPN = (*UNITS, *VPN_UNITS)
KEYS = tuple(ORIGINAL | VPN)


@st.composite
def changes_of_others(draw: st.DrawFn) -> dict[str, Value]:
    """Draw values for whole units that neither TrayProxy nor the original settings have."""
    units = draw(st.sets(st.sampled_from(UNITS_WITH_VPN), min_size=1))
    return {key: draw(st.sampled_from(["x1", "x2"])) for unit in units for key in unit.keys}


old_values = st.fixed_dictionaries(
    {key: st.sampled_from([None, "a", "b", *(["dead"] if "host" in key else [])]) for key in KEYS}
)
our_values = st.fixed_dictionaries(dict.fromkeys(KEYS, st.sampled_from(["ours 1", "ours 2"])))
moments = st.fixed_dictionaries(
    {
        "writes": st.just(99) | st.integers(0, 16),
        "missing": st.booleans(),
        "refused": st.just(set()) | st.sets(st.sampled_from(list(VPN)), min_size=1),
        "dead": st.booleans(),
    }
)
scripts = st.lists(
    st.tuples(
        st.one_of(
            st.tuples(st.just("on"), our_values),
            st.tuples(st.just("off"), st.just({})),
            st.tuples(st.just("other"), changes_of_others()),
        ),
        moments,
    ),
    max_size=8,
)


@given(original=old_values, script=scripts)
def test_every_entry_is_its_original_or_another_programs(
    folders: Path, original: dict[str, Value], script: list[Any]
) -> None:
    """Turn on and off while a part is missing or refuses, an original is dead, or a crash comes.

    `base` has the values that the target would have without TrayProxy. A unit that leaves the
    journal must have these values, unless another program's values rely on it.
    """
    file = JournalFile(folders / "journal")
    target = FakeTarget(dict(original), "wininet", UNITS_WITH_VPN)
    base = dict(original)
    for number, ((kind, drawn), moment) in enumerate(script):
        # Another program that sets the same value twice, before and after an interrupted change,
        # cannot be told from that change.
        new: dict[str, Value] = dict(drawn)
        if kind == "other":
            new = {key: f"{value} {number}" for key, value in drawn.items()}
        target.before_write = crash_after(moment["writes"])
        target.missing = {"vpn"} if moment["missing"] else set()
        target.refused = moment["refused"]
        before = file.load()
        refused: set[str] = set()
        try:
            if kind == "on":
                refused = {refusal.part for refusal in turn_on(file, [target], new)}
            elif kind == "off" and moment["dead"]:
                restore_living(file, [target])
            elif kind == "off":
                restore(file, finder([target]), keeps_withheld=True)
            else:
                target.values |= new
                base |= new
        except PowerCut:
            pass
        except NotAppliedError as error:
            before = None if error.is_rolled_back else before
        if kind == "on" and before is not None:
            # The user has taken the target back from other programs, except a missing part and a
            # part that refuses.
            record, present = before.targets[0], target.read()
            taken = (unit for unit in record.units if unit.part not in refused)
            base |= {k: record.original[k] for unit in taken for k in unit.keys if k in present}
        check_units_outside_the_journal(file, target, base)
    target.before_write = lambda: None
    target.missing, target.refused = set(), set()
    restore(file, finder([target]))
    assert file.load() is None
    check_units_outside_the_journal(file, target, base)
    after = dict(target.values)
    restore(file, finder([target]))
    assert target.values == after


def check_units_outside_the_journal(
    file: JournalFile, target: FakeTarget, base: dict[str, Value]
) -> None:
    journal = file.load()
    record = journal.record_of(target.name) if journal is not None else None
    kept = {unit.name for unit in record.units} if record is not None else set()
    for unit in target.units:
        if unit.name in kept:
            continue
        now = {key: target.values[key] for key in unit.keys}
        others = [u for u in target.units if u.name in unit.used_by]
        relied_on = any(str(target.values[u.keys[0]]).startswith("x") for u in others)
        assert relied_on or now == {key: base[key] for key in unit.keys}
        base |= now


def test_a_power_cut_while_a_unit_is_taken_back_leaves_no_mixture(file: JournalFile) -> None:
    target = FakeTarget(dict(ORIGINAL))
    turn_on(file, [target])
    target.values |= {"host": "other", "port": "81"}
    target.before_write = crash_after(1)
    with pytest.raises(PowerCut):
        turn_on(file, [target])
    assert (target.values["host"], target.values["port"]) == ("127.0.0.1", "81")
    target.before_write = lambda: None
    restore(file, finder([target]))
    assert target.values == ORIGINAL


def test_a_unit_that_was_taken_back_can_get_the_values_of_the_other_program_again(
    file: JournalFile,
) -> None:
    target = FakeTarget(dict(ORIGINAL))
    turn_on(file, [target])
    for _ in range(2):
        target.values |= {"host": "other", "port": "81"}
        turn_on(file, [target])
    target.values |= {"host": "other", "port": "81"}
    assert restore(file, finder([target])).left == (("fake", "address"),)


def test_a_part_of_another_program_that_refuses_to_be_taken_back_is_left_as_it_was(
    file: JournalFile, wininet: FakeTarget
) -> None:
    turn_on(file, [wininet], OURS | OUR_VPN)
    wininet.values |= {"host of vpn": "other", "port of vpn": "81"}
    wininet.refused.add("host of vpn")
    others = {key: wininet.values[key] for key in VPN}
    assert turn_on(file, [wininet], OURS | {"port": "3129"} | OUR_VPN)
    assert wininet.values == OURS | {"port": "3129"} | others
    restore(file, finder([wininet]))
    assert (wininet.values["host of vpn"], wininet.values["port of vpn"]) == ("other", "81")
    assert file.load() is None
