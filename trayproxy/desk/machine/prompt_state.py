"""The state of a protection space's prompt and of the rejections that the prompt reports."""

from dataclasses import dataclass, replace
from math import inf

from trayproxy.auth.login import Login
from trayproxy.desk.machine.events import SignInMethod
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.domain.signin import PromptReason

UPSTREAM_CHANGED = frozenset(
    {PromptReason.DOWNGRADE, PromptReason.FALLBACK, PromptReason.REALM_CHANGED}
)
"""The prompt reasons that report that an upstream has changed."""

REJECTION_REASONS = frozenset(
    {
        PromptReason.SAVED_REJECTED,
        PromptReason.TYPED_REJECTED,
        PromptReason.REPEATED,
        PromptReason.EXPIRED,
        PromptReason.LOCKED,
    }
)
"""The prompt reasons that follow the rejection of a login."""

_LASTING_REASONS = REJECTION_REASONS | {
    PromptReason.KEYRING_LOCKED,
    PromptReason.KEYRING_SILENT,
    PromptReason.UNCHECKED,
    PromptReason.UNCLEAR,
    PromptReason.UNRECORDED,
}
"""The prompt reasons that remain valid when a prompt is opened again later."""

_REASONS_OF_LOGIN = UPSTREAM_CHANGED | {PromptReason.UNCHECKED, PromptReason.UNRECORDED}
"""The prompt reasons that become invalid with a new login."""


@dataclass(frozen=True, slots=True)
class OpenPrompt:
    """An open prompt.

    Attributes:
        number: Identifies the prompt to front ends.
        touched_at: Time of the user's last action on the prompt, or of the opening if the user
            asked for the prompt.
        is_touched: True if the user has begun to answer; the prompt is not closed automatically
            then.
    """

    number: int
    touched_at: float = -inf
    is_touched: bool = False


@dataclass(frozen=True, slots=True)
class PromptState:
    """The prompt of a protection space: why and when it opens, and the text of it.

    Attributes:
        method: The sign-in method demanded by the upstream, for display.
        open: The open prompt, None if there is none.
        due_at: Time when the prompt may open.
        reason: The reason for the prompt.
        previous_name: The upstream's scheme or realm from before its change, for display.
        user: The user name suggested in the prompt.
        needs_user: True if the user must provide a login, until a login was accepted.
        snoozed_until: End of the snooze; infinite if only the user ends it.
        snooze_ends_with_network: True if a network change also ends the snooze.
        weaker_refusal: The problem of the upstream in full sentences for the user, or empty, if a
            request was refused because the upstream demands a weaker scheme than before and no
            front end can show a prompt; None after the next acceptance.
        rejection_times: Times of the rejections in a row.
        is_account_locked: True if the upstream has reported a locked account.
        is_repeated: True if the user typed a login rejected before.
        may_retry_rejected: True if the user may send a rejected login once more.
    """

    method: SignInMethod
    open: OpenPrompt | None = None
    due_at: float = 0.0
    reason: PromptReason = PromptReason.NEEDED
    previous_name: str = ""
    user: str = ""
    needs_user: bool = False
    snoozed_until: float = 0.0
    snooze_ends_with_network: bool = False
    weaker_refusal: str | None = None
    rejection_times: tuple[float, ...] = ()
    is_account_locked: bool = False
    is_repeated: bool = False
    may_retry_rejected: bool = False

    # --- Opening and closing ---------------------------------------------------------------------

    def asked(
        self,
        reason: PromptReason,
        previous_name: str,
        due_at: float,
        method: SignInMethod | None = None,
    ) -> "PromptState":
        """Return the state in which the prompt opens for a reason at a time; the method is kept if
        None."""
        method = method or self.method
        return replace(
            self, reason=reason, previous_name=previous_name, due_at=due_at, method=method
        )

    def requested(self, *, is_waiting: bool) -> "PromptState":
        """Return the state after the user has asked for the prompt, for which requests may be
        waiting."""
        is_reason_kept = is_waiting or self.reason in REJECTION_REASONS
        reason = self.reason if is_reason_kept else PromptReason.ASKED_FOR
        return replace(self, may_retry_rejected=True, reason=reason)

    def opened(self, number: int) -> "PromptState":
        """Return the state after the prompt was opened with a number."""
        return replace(self, open=OpenPrompt(number))

    def touched(self, now: float) -> "PromptState":
        """Return the state after an action of the user on the prompt, if the prompt is open."""
        return replace(self, open=OpenPrompt(self.open.number, now, True) if self.open else None)

    def snoozed(self, until: float, *, ends_with_network: bool) -> "PromptState":
        """Return the state after the user has declined the prompt."""
        return replace(
            self, snoozed_until=until, snooze_ends_with_network=ends_with_network, needs_user=True
        )

    # --- Logins ----------------------------------------------------------------------------------

    def settled(self) -> "PromptState":
        """Return the state in which the user has nothing to do."""
        return replace(self, needs_user=False, weaker_refusal=None)

    def with_new_login(self, login: Login | None) -> "PromptState":
        """Return the state after a login, or the own sign-in if None, has become the current
        login."""
        reason = PromptReason.NEEDED if self.reason in _REASONS_OF_LOGIN else self.reason
        user = login.user if login else self.user
        return replace(self, user=user, reason=reason, is_account_locked=False)

    def rejected_before(self, user: str, reason: PromptReason) -> "PromptState":
        """Return the state after a login was not sent, because it had been rejected before."""
        is_repeated = reason is PromptReason.REPEATED
        return replace(self, user=user, reason=reason, is_repeated=is_repeated)

    def rejected(self, user: str, now: float, *, is_account_locked: bool) -> "PromptState":
        """Return the state after the upstream has rejected a login."""
        return replace(
            self,
            user=user,
            rejection_times=(*self.rejection_times, now),
            is_account_locked=is_account_locked,
            is_repeated=False,
            may_retry_rejected=False,
        )

    def without_rejections(self) -> "PromptState":
        """Return the state in which no earlier rejection counts."""
        return replace(
            self,
            reason=PromptReason.NEEDED,
            rejection_times=(),
            is_account_locked=False,
            is_repeated=False,
            may_retry_rejected=False,
        )

    @property
    def lasting_reason(self) -> PromptReason:
        """The reason for a prompt that is opened again later."""
        return self.reason if self.reason in _LASTING_REASONS else PromptReason.NEEDED

    @property
    def waits_for_keyring(self) -> bool:
        """True if the prompt is open because the keyring is locked or does not respond."""
        is_locked = self.reason in (PromptReason.KEYRING_LOCKED, PromptReason.KEYRING_SILENT)
        return is_locked and self.open is not None

    def attention_ends_at(self, limits: DeskLimits) -> float:
        """Return the time until which the prompt keeps other prompts from opening; -inf if it is
        closed."""
        return self.open.touched_at + limits.prompt_attention if self.open else -inf

    def needs_confirmation(self, now: float, limits: DeskLimits) -> bool:
        """Return whether the prompt requires *Try anyway* for the next attempt."""
        return self.is_repeated or self.is_account_locked or self.may_lock_account(now, limits)

    def may_lock_account(self, now: float, limits: DeskLimits) -> bool:
        """Return whether the number of recent rejections puts the account at risk of being
        locked."""
        recent = sum(now - time <= limits.rejection_window for time in self.rejection_times)
        return recent >= limits.rejections_max
