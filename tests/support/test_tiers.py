"""Tests for tests.support.tiers."""

from pathlib import Path, PurePath

import pytest

from tests.support.tiers import DESCRIPTIONS, FOLDERS, Tier, TierError, tier_of, unit_guard

TESTS = Path(__file__).parents[1]


def test_every_folder_has_a_tier() -> None:
    folders = {path.parent.relative_to(TESTS).parts for path in TESTS.rglob("test_*.py")}
    assert {parts[0] for parts in folders if parts} == set(FOLDERS)


def test_every_tier_is_described() -> None:
    assert set(DESCRIPTIONS) == set(Tier)


@pytest.mark.parametrize(
    ("path", "fixtures", "tier"),
    [
        ("http/test_body.py", (), Tier.UNIT),
        ("http/test_body.py", ("tmp_path", "monkeypatch"), Tier.UNIT),
        ("desk/test_keyring_store_real.py", ("session",), Tier.COUNTERPART),
        ("profiles/test_store.py", ("tmp_path", "run_python"), Tier.SOCKET),
        ("engine/test_tunnel.py", (), Tier.SOCKET),
        ("engine/test_tunnel.py", ("clients",), Tier.COUNTERPART),
        ("engine/unit/test_pool.py", ("loop",), Tier.UNIT),
        ("engine/unit/test_challenge_detection.py", ("start",), Tier.SOCKET),
        ("end2end/schemes/test_everywhere.py", (), Tier.COUNTERPART),
        ("end2end/test_tray.py", ("qapp",), Tier.DESKTOP),
        ("ui/test_app.py", ("clients",), Tier.DESKTOP),
        ("test_project.py", (), Tier.COUNTERPART),
    ],
)
def test_the_largest_need_decides(path: str, fixtures: tuple[str, ...], tier: Tier) -> None:
    assert tier_of(PurePath(path), fixtures) is tier


@pytest.mark.parametrize("event", ["socket.bind", "socket.connect", "subprocess.Popen"])
def test_a_unit_test_that_uses_more_than_values_fails(event: str) -> None:
    is_unit = True
    audit = unit_guard(lambda: is_unit)
    with pytest.raises(TierError, match=event):
        audit(event, ())
    is_unit = False
    audit(event, ())


def test_a_unit_test_may_make_an_event_loop() -> None:
    unit_guard(lambda: True)("socket.__new__", ())
