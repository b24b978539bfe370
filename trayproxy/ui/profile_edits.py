"""The profiles of the service and the unsaved changes to them, without widgets.

A profile is identified by its key in the list: its id, `NEW_PROFILE` or `DIRECT_ID`.
"""

from dataclasses import dataclass, replace

from trayproxy.control.messages import Status
from trayproxy.profiles.profile import DIRECT_ID, Profile
from trayproxy.ui.profile_draft import ProfileDraft, draft_from_profile

NEW_PROFILE = ""
"""The key of a new profile, which has no id yet."""


@dataclass(frozen=True, slots=True)
class PendingSave:
    """A profile sent to the service, with its draft at the time of the request.

    `is_done` is True if the service has confirmed the request.
    """

    key: str
    draft: ProfileDraft
    profile: Profile
    is_done: bool = False


@dataclass(frozen=True, slots=True)
class EntryActions:
    """The actions that apply to an entry of the list.

    Attributes:
        edit: False for *Connect directly*.
        use: True if the entry can be activated.
        revert: True if there are unsaved changes that can be discarded.
        forget: True if the profile may have a saved password.
    """

    edit: bool
    use: bool
    revert: bool
    forget: bool


class ProfileEdits:
    """The profiles, and a draft for each profile with unsaved changes.

    Attributes:
        profiles: The profiles by their ids, in menu order.
        active: The key of the active entry, empty if there is none.
    """

    def __init__(self) -> None:
        self.profiles: dict[str, Profile] = {}
        self.active = ""
        self._drafts: dict[str, ProfileDraft] = {}
        self._pending: PendingSave | None = None

    @property
    def has_drafts(self) -> bool:
        """True if there are unsaved changes."""
        return bool(self._drafts)

    @property
    def entries(self) -> list[str]:
        """The keys of the list."""
        new = [NEW_PROFILE] if NEW_PROFILE in self._drafts else []
        direct = [DIRECT_ID] if self.profiles or self.active == DIRECT_ID else []
        return [*self.profiles, *new, *direct]

    def update(self, status: Status) -> bool:
        """Replace the profiles by those of a status; drop the drafts of deleted profiles.

        Return True if the profiles or the active entry have changed.
        """
        profiles = {profile.id: profile for profile in status.profiles}
        active = status.profile.id if status.profile is not None else ""
        active = DIRECT_ID if status.direct else active
        # Two dictionaries with another order are equal.
        before = list(self.profiles.items()), self.active
        self.profiles, self.active = profiles, active
        if before == (list(profiles.items()), active):
            return False
        for deleted_id in [key for key in self._drafts if key and key not in profiles]:
            del self._drafts[deleted_id]
        return True

    def draft(self, key: str) -> ProfileDraft:
        """Return the draft of an entry; without unsaved changes, the saved profile."""
        if key in self._drafts:
            return self._drafts[key]
        profile = self.profiles.get(key)
        return draft_from_profile(profile) if profile else ProfileDraft()

    def set_draft(self, key: str, draft: ProfileDraft) -> None:
        """Keep the unsaved changes of an entry as a draft."""
        self._drafts[key] = draft

    def add_draft(self) -> None:
        """Add the draft of a new profile, unless the draft exists."""
        self._drafts.setdefault(NEW_PROFILE, ProfileDraft())

    def discard(self, key: str) -> None:
        """Discard the unsaved changes of an entry."""
        self._drafts.pop(key, None)

    def start_save(self, key: str, draft: ProfileDraft, profile: Profile) -> None:
        """Record that a profile was sent to the service."""
        self._drafts[key] = draft
        self._pending = PendingSave(key, draft, profile)

    def confirm_save(self, profile: Profile) -> bool:
        """Record that the service has saved a profile; return False if another save followed."""
        if self._pending is None or self._pending.profile != profile:
            return False
        self._pending = replace(self._pending, is_done=True)
        return True

    def finish_save(self) -> PendingSave | None:
        """Delete the draft of a saved profile once the status contains the profile.

        Return the finished save, or None. The last status may be older than the confirmation.
        """
        pending = self._pending
        if pending is None or not pending.is_done:
            return None
        if self.profiles.get(pending.profile.id) != pending.profile:
            return None
        self._pending = None
        if self._drafts.get(pending.key) == pending.draft:
            del self._drafts[pending.key]
        return pending

    def actions(self, key: str) -> EntryActions:
        """Return the actions that apply to an entry."""
        is_saved, is_direct = key in self.profiles, key == DIRECT_ID
        return EntryActions(
            edit=not is_direct,
            use=(is_saved or is_direct) and key != self.active,
            revert=key in self._drafts and (is_saved or bool(self.profiles)),
            forget=is_saved,
        )
