"""What it means that a request came back (ux §3.4, threat T14).

A login is right once a response proves it: a 2xx, a 304 or an opened tunnel. A response that a
proxy may give to a wrong login as well (403, 502, a redirect to another host) and one that only
sites give (404) prove nothing: the login stays on trial, and the trial goes to another host.

A 407 to a login that was accepted before may be about the host: a company may forbid one by asking
again and again, from the beginning or once a quota is used up. So the login is in doubt then, and
tried once more for another host; only that tells. That try is one more failed log-on if the
password was changed. There is none where no host was named yet (SOCKS). Each login is blamed once:
it is never sent again by itself.
"""

from trayproxy.auth.login import Login
from trayproxy.auth.scheme import PASSWORD_NOT_CHECKED, Verdict, VerdictKind, strength
from trayproxy.control.messages import Ending, PromptReason
from trayproxy.desk.machine.events import (
    ClearRejection,
    LoginAccepted,
    RecordRejection,
    RefusalReason,
    RequestChallenged,
    SaveLoginToKeyring,
    TriedLogin,
)
from trayproxy.desk.machine.prompts import NAMES_BEFORE, Prompts
from trayproxy.desk.machine.scheme_policy import NO_TICKETS, set_back
from trayproxy.desk.machine.space_state import LoginSource, SpacePhase, SpaceState
from trayproxy.desk.machine.state import DeskState
from trayproxy.desk.protection_space import ProtectionSpace, UpstreamFingerprint, host_of

_ABOUT_THE_COMPUTER = NO_TICKETS | {VerdictKind.SERVER_UNREACHABLE}
"""The verdicts that all requests would get: none of them is about the one request."""
_WHYS = {
    VerdictKind.UNCLEAR: PromptReason.UNCLEAR,
    VerdictKind.EXPIRED: PromptReason.EXPIRED,
    VerdictKind.LOCKED: PromptReason.LOCKED,
}
_KNOWN_WRONG = {
    LoginSource.SAVED: PromptReason.SAVED_REJECTED,
    LoginSource.TYPED: PromptReason.REPEATED,
}
_REALMS_MOST = 8


class Outcomes:
    """Learns from what comes back."""

    def __init__(self, board: DeskState, questions: Prompts) -> None:
        self._board = board
        self._questions = questions

    # --- Accepted ----------------------------------------------------------------------------

    def accepted(self, event: LoginAccepted) -> None:
        """Take note that a login was accepted."""
        mark = event.mark
        case = self._board.cases.get(mark.space)
        if case is None:
            return
        untold = case.untold.pop(mark.generation, None)
        if case.login_id != mark and (untold is None or untold != case.login):
            return
        if not case.has_login or case.phase in (
            SpacePhase.EMPTY,
            SpacePhase.LOOKING,
            SpacePhase.QUIET,
        ):
            return
        flight = case.flights.get(event.flight)
        if flight is None and case.accepted is not None and not self._is_undoubted(case):
            return  # It left before the refusal or the silence that put the login in doubt.
        case.accepted = case.seen = self._board.now
        case.doubts = case.unanswered = case.stumbles = 0
        case.is_overdue = False
        case.own_tries = 0
        case.suspects.clear()
        case.vague.clear()
        case.own_targets.clear()
        case.flights.clear()
        if case.login_id == mark:
            is_canary = case.phase is SpacePhase.CHECKING
            self._note_good(case, event.target or (case.canary if is_canary else ""))
        case.labels[event.label] = event.scheme
        if case.scheme not in case.labels.values() or event.label == max(case.labels, key=strength):
            case.scheme = event.scheme
        has_changed = case.phase is SpacePhase.ASKING and case.why in NAMES_BEFORE
        if case.phase is not SpacePhase.TRUSTED and not has_changed:
            self._trust(case, event.label)

    def _note_good(self, case: SpaceState, target: str) -> None:
        """Remember that the present login was accepted for a target."""
        if not target:
            return
        case.forbidden.pop(host_of(target), None)
        case.goods.pop(target, None)
        case.goods[target] = None
        if len(case.goods) > self._board.rules.good_most:
            del case.goods[next(iter(case.goods))]

    @staticmethod
    def _is_undoubted(case: SpaceState) -> bool:
        return case.phase is SpacePhase.TRUSTED and (not case.unanswered or case.is_overdue)

    def _trust(self, case: SpaceState, label: str) -> None:
        board = self._board
        if case.login:
            board.rejected.discard(board.places(case.key.upstream_id), case.login)
            board.effects.append(ClearRejection(case.key.upstream_id, case.login))
        case.move(SpacePhase.TRUSTED)
        case.stop_trial()
        case.rejections.clear()
        case.blamed = ""
        case.setbacks.pop(case.scheme, None)
        case.repeated = case.lifted = case.locked = case.blocked = False
        case.why = PromptReason.NEEDED
        self._pin(case, label)
        replaces_user = case.source is LoginSource.TYPED
        if case.remember and case.login:
            case.remember, case.source = False, LoginSource.SAVED
            # Before the user name changes: the keyring removes the entry of the one before.
            board.effects.append(SaveLoginToKeyring(case.kept_for, case.login))
        board.keep_user(case, replaces=replaces_user)
        self._questions.close(case, Ending.ACCEPTED)
        self._release_all(case)

    def _release_all(self, case: SpaceState) -> None:
        for request in list(case.parked.values()):
            if request.refused:
                # With this very login, which is right: it is the address then.
                self._forbid(case, request.target)
                self._board.leave(request.waiter)
                self._board.refuse(request.waiter, RefusalReason.FORBIDDEN)
            elif any(offer.scheme == case.scheme for offer in request.unspent(case.login_id)):
                self._board.leave(request.waiter)
                self._board.release(request.waiter, case, case.scheme)

    def _forbid(self, case: SpaceState, target: str) -> None:
        """Remember that a host is forbidden, so as not to doubt the login again over it."""
        host = host_of(target)
        case.forbidden.pop(host, None)
        case.forbidden[host] = self._board.now
        if len(case.forbidden) > self._board.rules.forbidden_most:
            del case.forbidden[next(iter(case.forbidden))]

    def _pin(self, case: SpaceState, label: str) -> None:
        """Remember what this upstream is, now that it has accepted a login."""
        board, space = self._board, case.key.upstream_id
        old = board.pins.get(space)
        realms = old.realms if old else ()
        if case.remember and case.login:
            # The keyring is about to hold this login: it is right where it was accepted.
            realms = tuple(
                c.key.realm
                for c in board.siblings(case)
                if c.login == case.login and c.phase is SpacePhase.TRUSTED
            )
        if case.remember or case.source is LoginSource.SAVED or not old:
            others = [realm for realm in realms if realm != case.key.realm]
            realms = (case.key.realm, *others)[:_REALMS_MOST]
        board.pin(space, UpstreamFingerprint(label, realms))

    # --- Refused -----------------------------------------------------------------------------

    def settle_late(self, tried: TriedLogin) -> None:
        """Learn that a login was rejected that was given up before its verdict came."""
        case = self._board.cases.get(tried.mark.space)
        login = case.untold.pop(tried.mark.generation, None) if case else None
        if case and login and not is_costless(tried.verdict):
            self._note(case, login)

    def settle_stray(self, tried: TriedLogin, asks: ProtectionSpace) -> None:
        """Take note that a login was refused in the name of another realm: no verdict on it.

        One on trial may have been counted all the same, so that the person decides about it; the
        request goes on in the other realm.
        """
        case = self._board.cases.get(tried.mark.space)
        if case is None or case.key.upstream_id != asks.upstream_id or case.login_id != tried.mark:
            return
        if case.phase not in (SpacePhase.CHECKING, SpacePhase.HELD):
            return
        if case.accepted is not None and tried.flight not in case.flights:
            return
        is_costly = not is_costless(tried.verdict)
        case.doubts += is_costly and case.accepted is not None
        is_open = case.accepted is not None and case.doubts < self._board.rules.doubts
        if is_open or not is_costly:
            if case.phase is SpacePhase.CHECKING:
                self.leave_open(case, sent=False)
            if case.accepted is None and not case.has_clients:
                self._questions.close(case, Ending.ABANDONED)  # That of the other realm opens.
        elif case.login and (case.accepted is not None or self._questions.is_attended):
            case.doubts = 0
            if not case.has_clients:
                self._questions.close(case, Ending.ABANDONED)
            self._questions.ask(case, PromptReason.UNCHECKED)
        elif case.phase is SpacePhase.CHECKING:
            self.leave_open(case, sent=True, most=self._board.rules.unproved)

    def asked_otherwise(self, case: SpaceState, tried: TriedLogin, *, is_trial: bool) -> None:
        """Keep a login whose request is asked for it in another way: that says nothing about it.

        A login on trial may have been counted all the same.
        """
        if case.phase is SpacePhase.CHECKING and is_trial:
            is_sent = not is_costless(tried.verdict) and case.accepted is None
            self.leave_open(case, sent=is_sent, most=self._board.rules.unproved)

    def refused(
        self, case: SpaceState, event: RequestChallenged, tried: TriedLogin, *, is_trial: bool
    ) -> bool:
        """Take the verdict on the present login.

        Args:
            case: Its protection space.
            event: The request that came back.
            tried: What it carried.
            is_trial: It left after whatever put the login in doubt.

        Returns:
            Whether the request waits on with the others; if not, it is forbidden, and nothing that
            is on its way can tell more.
        """
        if case.phase is SpacePhase.ASKING and case.why is PromptReason.UNCHECKED:
            self.reject(case, tried.verdict)  # So late that it was not waited for any more.
        if case.phase not in (SpacePhase.TRUSTED, SpacePhase.CHECKING, SpacePhase.HELD):
            return True
        board = self._board
        was_canary = case.phase is SpacePhase.CHECKING and is_trial
        is_known = case.is_forbidden(event.target, board.now, board.rules)
        if is_known and not tried.is_final and not was_canary:
            return False
        if is_known and not tried.is_final and case.accepted is None:
            # The host refuses logins that are right: this says nothing about another one.
            self.leave_open(case, sent=True, most=board.rules.unproved)
            return False
        is_told = tried.is_final or (was_canary and self._tells(case, event))
        if is_told or not self._may_be_right(case):
            case.blamed = event.target
            self.reject(case, tried.verdict)
            return True
        if was_canary or not case.doubts:
            case.doubts += 1
        if case.doubts >= board.rules.doubts:
            self.reject(case, tried.verdict)
            return True
        # If the password was changed just now, each further try is a failed log-on: they go one
        # at a time from here.
        case.suspects[host_of(event.target)] = board.now
        if case.phase is SpacePhase.CHECKING and not was_canary:
            return False
        case.flights.clear()
        case.stop_trial()
        if case.phase is not SpacePhase.HELD:
            case.move(SpacePhase.HELD)
        return False

    @staticmethod
    def _tells(case: SpaceState, event: RequestChallenged) -> bool:
        """Return whether this refusal of a canary is about the login, and not about its host.

        Another host has refused the login since it was accepted last, and this one is no more
        likely to be forbidden than any: the login was accepted for it, or we have chosen it.
        """
        if event.own:
            return True
        host = host_of(event.target)
        return any(other != host for other in case.suspects) and case.is_good(event.target)

    def _may_be_right(self, case: SpaceState) -> bool:
        """Return whether it may be the address that is refused, and not the login.

        With the means to find that out by one request, always if it was ever accepted.
        """
        if case.accepted is None:
            return False
        if case.doubts or self.can_find_out(case):
            return True
        return self._board.now - case.accepted <= self._board.rules.moments

    def can_find_out(self, case: SpaceState) -> bool:
        """Return whether a request of our own can tell whether a login is right still."""
        return bool(case.goods) and self._board.tries_itself

    def unusable(
        self,
        case: SpaceState,
        tried: TriedLogin,
        verdict: Verdict,
        *,
        is_offered: bool,
        is_trial: bool,
    ) -> bool:
        """Take note that a scheme came to nothing, and nothing is known about the login.

        Args:
            case: Of which protection space.
            tried: With what.
            verdict: Why.
            is_offered: Whether the upstream still offers that scheme, as far as is known.
            is_trial: As for `refused`.

        Returns:
            Whether it is left alone now. One that works for others may stumble.
        """
        board, scheme = self._board, tried.scheme
        is_system = verdict.kind in _ABOUT_THE_COMPUTER or not is_offered
        if case.phase is SpacePhase.TRUSTED and not is_system:
            # What one request cannot do for its content says nothing about the next one.
            case.stumbles += not verdict.lacks_content
            if case.stumbles < board.rules.stumbles:
                return False
        set_back(board, case, scheme, verdict)
        if case.scheme == scheme:
            case.scheme = ""
        if case.phase is SpacePhase.TRUSTED or (case.phase is SpacePhase.CHECKING and is_trial):
            case.stop_trial()
            case.move(SpacePhase.HELD)
            board.changed(case)
        return True

    def reject(self, case: SpaceState, verdict: Verdict | None = None) -> None:
        """Set the present login aside and ask the person."""
        kind = verdict.kind if verdict else VerdictKind.REJECTED
        if case.login is None:
            return self._reject_own(case, verdict or Verdict(kind))
        self._blame(case, case.login)
        case.locked = kind is VerdictKind.LOCKED
        why = (
            PromptReason.SAVED_REJECTED
            if case.source is LoginSource.SAVED
            else PromptReason.TYPED_REJECTED
        )
        return self._questions.ask(case, _WHYS.get(kind, why))

    def known_wrong(self, case: SpaceState) -> None:
        """Ask the person for another login than one that was rejected before; nothing is sent."""
        if case.login is not None:
            case.user = case.login.user
        case.unsent = True
        case.repeated = case.source is LoginSource.TYPED
        self._questions.ask(case, _KNOWN_WRONG.get(case.source, PromptReason.TYPED_REJECTED))

    def _blame(self, case: SpaceState, login: Login) -> None:
        self._note(case, login)
        case.rejections.append(self._board.now)
        case.user = login.user
        case.repeated = case.lifted = False
        case.doubts = 0
        case.suspects.clear()
        case.flights.clear()

    def _note(self, case: SpaceState, login: Login) -> None:
        """Never send this login again by itself, not in later runs either."""
        board = self._board
        if not board.is_rejected(case.key.upstream_id, login):
            board.effects.append(RecordRejection(case.key.upstream_id, login))
        board.rejected.add(board.places(case.key.upstream_id), login)

    def _reject_own(self, case: SpaceState, verdict: Verdict) -> None:
        """Leave one's own sign-in alone for a while: nobody can be asked for a better one."""
        set_back(self._board, case, case.trial.scheme if case.trial else case.scheme, verdict)
        case.doubts = 0
        case.scheme = ""
        case.stop_trial()
        if case.phase is not SpacePhase.HELD:
            case.move(SpacePhase.HELD)

    # --- Neither -----------------------------------------------------------------------------

    def leave_open(self, case: SpaceState, *, sent: bool, most: int | None = None) -> None:
        """Keep a login of which the canary has not told whether it is right.

        It may have been counted all the same; so after some of these the person decides. One that
        was right before is sent once more, on TrayProxy's own request.

        Args:
            case: With which login.
            sent: It may have cost a failed log-on.
            most: After how many of these; None: as many as may go unanswered.
        """
        board = self._board
        case.stop_trial()
        case.unanswered += sent
        most = most or board.rules.unanswered
        if case.accepted is None:
            case.why = PromptReason.UNCHECKED
        else:
            most = board.rules.unanswered + 1
        too_many = case.unanswered - most
        if case.login and too_many >= 0:
            case.relook_at = board.now + board.rules.relook_locked
            is_new = case.source is LoginSource.SAVED and case.accepted is None
            silences = board.rules.silences if is_new else board.rules.short_silences
            case.silent_until = board.now + silences[min(too_many, len(silences) - 1)]
            return self._questions.ask(case, PromptReason.UNCHECKED)
        case.move(SpacePhase.HELD)
        return board.changed(case)


def is_costless(verdict: Verdict | None) -> bool:
    """Return whether a handshake ended before the login was tried."""
    return verdict is not None and verdict.kind in PASSWORD_NOT_CHECKED
