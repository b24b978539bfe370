"""Tests for trayproxy.ui.profile_edits."""

from dataclasses import replace

import pytest
from msgspec import structs

from tests.ui.fake_service import LAB, OFFICE, STATUS
from trayproxy.profiles.profile import DIRECT_ID
from trayproxy.ui.profile_draft import ProfileDraft, draft_from_profile
from trayproxy.ui.profile_edits import NEW_PROFILE, EntryActions, ProfileEdits

CHANGED = replace(OFFICE, name="Head office")
DRAFT = draft_from_profile(CHANGED)


@pytest.fixture
def edits() -> ProfileEdits:
    edits = ProfileEdits()
    assert edits.update(STATUS)
    return edits


def test_the_same_profiles_change_nothing(edits: ProfileEdits) -> None:
    assert not edits.update(structs.replace(STATUS, active=7))
    assert edits.update(structs.replace(STATUS, profiles=(LAB, OFFICE)))
    assert edits.entries == ["lab", "office", DIRECT_ID]


def test_a_draft_is_dropped_with_its_profile(edits: ProfileEdits) -> None:
    edits.add_draft()
    edits.set_draft("lab", ProfileDraft(name="x"))
    edits.update(structs.replace(STATUS, profiles=(OFFICE,)))
    assert edits.draft("lab") == ProfileDraft()
    assert edits.entries == ["office", NEW_PROFILE, DIRECT_ID]


def test_a_new_draft_is_not_replaced(edits: ProfileEdits) -> None:
    edits.set_draft(NEW_PROFILE, DRAFT)
    edits.add_draft()
    assert edits.draft(NEW_PROFILE) == DRAFT


def test_a_save_is_finished_by_a_confirmation_and_a_status(edits: ProfileEdits) -> None:
    edits.start_save("office", DRAFT, CHANGED)
    assert edits.finish_save() is None
    assert not edits.confirm_save(OFFICE)
    assert edits.confirm_save(CHANGED)
    # The last status is older than the confirmation.
    assert edits.finish_save() is None
    edits.update(structs.replace(STATUS, profile=CHANGED, profiles=(CHANGED, LAB)))
    saved = edits.finish_save()
    assert saved is not None
    assert (saved.key, saved.profile) == ("office", CHANGED)
    assert not edits.has_drafts
    assert edits.finish_save() is None


def test_input_after_the_save_is_kept(edits: ProfileEdits) -> None:
    edits.start_save("office", DRAFT, CHANGED)
    later = replace(DRAFT, name="Later")
    edits.set_draft("office", later)
    edits.confirm_save(CHANGED)
    edits.update(structs.replace(STATUS, profile=CHANGED, profiles=(CHANGED, LAB)))
    assert edits.finish_save() is not None
    assert edits.draft("office") == later


@pytest.mark.parametrize(
    ("key", "actions"),
    [
        ("office", EntryActions(edit=True, use=False, revert=False, forget=True)),
        ("lab", EntryActions(edit=True, use=True, revert=True, forget=True)),
        (NEW_PROFILE, EntryActions(edit=True, use=False, revert=True, forget=False)),
        (DIRECT_ID, EntryActions(edit=False, use=True, revert=False, forget=False)),
    ],
)
def test_each_entry_has_its_actions(key: str, actions: EntryActions, edits: ProfileEdits) -> None:
    edits.set_draft("lab", DRAFT)
    edits.add_draft()
    assert edits.actions(key) == actions


def test_the_first_new_profile_cannot_be_reverted() -> None:
    edits = ProfileEdits()
    edits.update(structs.replace(STATUS, profile=None, profiles=()))
    edits.add_draft()
    assert edits.entries == [NEW_PROFILE]
    assert not edits.actions(NEW_PROFILE).revert
