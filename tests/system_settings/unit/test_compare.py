import pytest

from tests.system_settings.fake_target import UNITS
from trayproxy.system_settings.compare import Owner, owners, restoration
from trayproxy.system_settings.entries import Change, Value
from trayproxy.system_settings.record import TargetRecord, new_record

ORIGINAL: dict[str, Value] = {"host": None, "port": "8080", "exceptions": "[]", "mode": "none"}
OURS: dict[str, Value] = {
    "host": "127.0.0.1",
    "port": "3128",
    "exceptions": "[a]",
    "mode": "manual",
}
RECORD = new_record("fake", UNITS, ORIGINAL, OURS)


def restored(record: TargetRecord, present: dict[str, Value]) -> dict[str, Value]:
    changes = restoration(record, present).changes
    return present | {change.key: change.value for change in changes}


def test_the_original_values_are_restored_with_the_mode_first() -> None:
    assert restoration(RECORD, OURS).changes == (
        Change("mode", "none"),
        Change("exceptions", "[]"),
        Change("host", None),
        Change("port", "8080"),
    )


def test_restored_values_are_not_changed_again() -> None:
    assert restoration(RECORD, ORIGINAL).changes == ()


@pytest.mark.parametrize(
    ("by_others", "expected"),
    [
        pytest.param({"mode": "auto"}, ORIGINAL | {"mode": "auto"}, id="another mode"),
        pytest.param({"mode": None}, ORIGINAL | {"mode": None}, id="mode unset"),
        pytest.param(
            {"port": "8888"},
            ORIGINAL | {"host": "127.0.0.1", "port": "8888", "mode": "manual"},
            id="another port: host, port and mode are the other program's",
        ),
        pytest.param(
            {"host": "proxy.example"},
            ORIGINAL | {"host": "proxy.example", "port": "3128", "mode": "manual"},
            id="another host on the same port",
        ),
        pytest.param({"exceptions": "[b]"}, ORIGINAL | {"exceptions": "[b]"}, id="exceptions"),
        pytest.param(
            {"host": "proxy.example", "mode": "none"},
            {"host": "proxy.example", "port": "3128", "exceptions": "[]", "mode": "none"},
            id="another host, and turned off: the mode is the original one",
        ),
    ],
)
def test_values_of_other_programs_stay(
    by_others: dict[str, Value], expected: dict[str, Value]
) -> None:
    assert restored(RECORD, OURS | by_others) == expected


@pytest.mark.parametrize("count", range(len(OURS) + 1))
def test_an_interrupted_change_is_undone(count: int) -> None:
    begun = ORIGINAL | dict(list(OURS.items())[:count])
    assert restored(RECORD, begun) == ORIGINAL
    assert Owner.OTHER not in owners(RECORD, begun).values()


def test_the_values_of_an_earlier_change_are_ours_too() -> None:
    moved = RECORD.merged(new_record("fake", UNITS, OURS, OURS | {"port": "3129"}))
    assert restored(moved, dict(OURS)) == ORIGINAL
    assert restored(moved, OURS | {"port": "3129"}) == ORIGINAL


def test_a_unit_that_another_change_adds_keeps_its_own_original_value() -> None:
    first = new_record("fake", UNITS, ORIGINAL, {"mode": "manual"})
    both = first.merged(new_record("fake", UNITS, OURS, {"exceptions": "[c]", "mode": "auto"}))
    assert both.original == {"mode": "none", "exceptions": "[a]"}
    assert restored(both, OURS | {"exceptions": "[c]", "mode": "auto"}) == OURS | {"mode": "none"}


def test_only_the_units_with_wanted_values_are_recorded() -> None:
    record = new_record("fake", UNITS, ORIGINAL, {"mode": "manual"})
    assert record.keys == ("mode",)
    assert restored(record, dict(OURS)) == OURS | {"mode": "none"}


@pytest.mark.parametrize("everything", [False, True])
def test_a_part_that_is_missing_is_not_restored(everything: bool) -> None:
    assert set(owners(RECORD, {}).values()) == {Owner.MISSING}
    plan = restoration(RECORD, {}, everything=everything)
    assert plan.changes == ()
    assert set(plan.missing) == {unit.name for unit in UNITS}


def test_a_unit_that_another_program_has_made_unreadable_is_left() -> None:
    present: dict[str, Value] = {"exceptions": "[a]", "mode": "manual"}
    assert owners(RECORD, present)["address"] is Owner.OTHER
    # The mode makes the address of the other program take effect.
    assert restoration(RECORD, present).changes == (Change("exceptions", "[]"),)
    assert restoration(RECORD, present).left == ("address",)
    assert restoration(RECORD, present, everything=True).changes == (
        Change("mode", "none"),
        Change("exceptions", "[]"),
    )


def test_on_request_the_values_of_other_programs_are_replaced_too() -> None:
    present = OURS | {"port": "8888", "mode": "auto"}
    changes = restoration(RECORD, present, everything=True).changes
    assert present | {change.key: change.value for change in changes} == ORIGINAL
    assert restoration(RECORD, ORIGINAL, everything=True).changes == ()
