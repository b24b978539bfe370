"""Where the login of a protection space comes from, and when there is another one."""

from collections.abc import Iterator
from math import inf

from msgspec.structs import replace

from trayproxy.auth.login import Login
from trayproxy.auth.scheme import strength
from trayproxy.control.messages import KeyringState, KeyringStatus, PromptReason, Transport
from trayproxy.desk.machine.events import CancelTrial, LookupFinished, LookUpLogin, SurveyKeyring
from trayproxy.desk.machine.prompts import NAMES_BEFORE, Prompts
from trayproxy.desk.machine.scheme_policy import objection, pick
from trayproxy.desk.machine.space_state import LoginSource, SpacePhase, SpaceState
from trayproxy.desk.machine.state import LASTING, DeskState
from trayproxy.profiles.profile import SignIn

_UNTOLD_MOST = 32


class CredentialLookup:
    """Finds logins in the keyring, and makes them the present ones."""

    def __init__(self, board: DeskState, questions: Prompts) -> None:
        self._board = board
        self._questions = questions
        self._lookups = 0

    def begin(self, case: SpaceState) -> None:
        """Find a login for the first request that waits: in the keyring, or from the person."""
        board = self._board
        if case.profile.sign_in is SignIn.SSO:
            return self.take(case, None, LoginSource.OWN)
        if sibling := self._sibling_to_follow(case):
            self.take(case, sibling.login, sibling.source)
            case.labels.update(sibling.labels)
            return None
        if case.source is LoginSource.GIVEN and case.login and case.why is PromptReason.UNCHECKED:
            return self._try_again(case)
        if why := self._objection(case):
            return self._questions.ask(case, why)
        if board.now < case.relook_at or not self._may_look_up(case):
            return self._questions.ask(
                case, case.why if case.why in LASTING else PromptReason.NEEDED
            )
        self._lookups += 1
        case.lookup = self._lookups
        case.lookup_until = board.now + board.rules.patience
        case.move(SpacePhase.LOOKING)
        board.effects.append(LookUpLogin(case.lookup, case.kept_for, case.profile.user))
        return None

    def _sibling_to_follow(self, case: SpaceState) -> SpaceState | None:
        """Return another realm of this upstream whose login may be sent here without asking.

        It was accepted there in a weaker way than the one that is offered here, so that the
        upstream learns nothing from it that it does not know already (threat T4).

        A login that was given for this run goes to another realm in a way that is as good, if it
        hides the password and nobody is there to be asked: proxies that share one address may each
        have their own name as the realm, and whoever gave the login has named the address.
        """
        offer = pick(case, case.offers, self._board.now)
        for other in self._board.siblings(case):
            is_accepted = other.phase is SpacePhase.TRUSTED and other.login is not None
            if not offer or not is_accepted:
                continue
            weakest = min(map(strength, other.labels))
            is_hidden = offer.way.transport is not Transport.READABLE
            is_alone = other.source is LoginSource.GIVEN and not self._questions.is_attended
            is_as_good = is_hidden and is_alone and weakest == offer.strength
            if weakest < offer.strength or is_as_good:
                return other
        return None

    def _try_again(self, case: SpaceState) -> None:
        """Send a login again that was given for this run and got no answer, after a while: nobody
        may be there to be asked, and no keyring holds it."""
        if self._board.now < case.silent_until:
            self._questions.ask(case, PromptReason.UNCHECKED)
        else:
            case.move(SpacePhase.HELD)

    def _objection(self, case: SpaceState) -> PromptReason | None:
        """Return why no saved login may be sent to this upstream as it is now."""
        offer = pick(case, case.offers, self._board.now)
        case.consent = None
        return objection(self._board, case, offer, case.offers) if offer else None

    def _may_look_up(self, case: SpaceState) -> bool:
        """Return whether a saved login may be used without a question.

        Not of a profile that is no longer active. Not after three rejections in a row. Not for
        another realm of an upstream whose realm we know, unless the saved login was right there:
        the password is pinned to the realms where it was (threat T4).
        """
        board = self._board
        if board.active and board.active.id != case.profile.id:
            return False
        if case.is_at_risk(board.now, board.rules):
            return False
        others = board.siblings(case)
        if any(c.rejections for c in others):
            return False
        pin = board.pins.get(case.key.upstream_id)
        is_pinned = pin is not None and case.key.realm in pin.realms
        return is_pinned or not any(c.accepted is not None for c in others)

    # --- The keyring -------------------------------------------------------------------------

    def found(self, event: LookupFinished) -> None:
        """Take what the keyring holds."""
        board = self._board
        self.surveyed(event.keyring)
        case = next((c for c in board.cases.values() if c.lookup == event.lookup), None)
        if case is None:
            return
        case.lookup, case.lookup_until = None, inf
        blocked = event.keyring.state in (KeyringState.LOCKED, KeyringState.SILENT)
        wait = board.rules.relook_locked if blocked else board.rules.relook
        case.relook_at = board.now + wait
        if case.phase not in (SpacePhase.LOOKING, SpacePhase.ASKING):
            return
        login = event.login
        if login:
            board.saved.add(case.key.upstream_id.profile_id)
        if login is None:
            self._questions.ask(case, self._why_without(case))
        elif board.is_rejected(case.key.upstream_id, login):
            case.user = login.user
            self._questions.ask(case, PromptReason.SAVED_REJECTED)
        elif self._is_silenced(case, login):
            self._questions.ask(case, PromptReason.UNCHECKED)
        else:
            self.take(case, login, LoginSource.SAVED)

    def _is_silenced(self, case: SpaceState, login: Login) -> bool:
        """Return whether a saved login has gone without an answer too often of late.

        Some proxies and SOCKS servers say nothing to a wrong password and just leave.
        """
        rules, now = self._board.rules, self._board.now
        is_same = login == case.login and case.unanswered >= rules.unanswered
        return is_same and now < case.silent_until

    def surveyed(self, keyring: KeyringStatus) -> None:
        """Take note of the state of the keyring."""
        board = self._board
        if keyring == board.keyring:
            return
        board.keyring = keyring
        for case in board.cases.values():
            board.changed(case)

    def look_for_unlocking(self, case: SpaceState) -> None:
        """Look from time to time whether another program has unlocked the keyring, while a question
        is open because it was locked."""
        board = self._board
        if self._waits_for_keyring(case) and board.now >= case.survey_at:
            case.survey_at = board.now + board.rules.resurvey
            board.effects.append(SurveyKeyring())

    def times(self, case: SpaceState) -> Iterator[float]:
        """Yield when to look for that again."""
        if self._waits_for_keyring(case):
            yield case.survey_at

    @staticmethod
    def _waits_for_keyring(case: SpaceState) -> bool:
        is_locked = case.why in (PromptReason.KEYRING_LOCKED, PromptReason.KEYRING_SILENT)
        return case.phase is SpacePhase.ASKING and case.asked is not None and is_locked

    def unlocked(self) -> None:
        """Read the keyring for the questions that are open because it was locked."""
        board = self._board
        for case in board.cases.values():
            if self._waits_for_keyring(case) and self._may_look_up(case):
                self._lookups += 1
                case.lookup = self._lookups
                board.effects.append(LookUpLogin(case.lookup, case.kept_for, case.profile.user))

    def give_up_waiting(self, case: SpaceState) -> None:
        """Ask without the keyring; what it says later is used if it still fits."""
        board = self._board
        case.lookup_until = inf
        case.relook_at = board.now + board.rules.relook_locked
        if board.keyring.state is not KeyringState.LOCKED:
            self.surveyed(replace(board.keyring, state=KeyringState.SILENT))
        self._questions.ask(case, self._why_without(case))

    def _why_without(self, case: SpaceState) -> PromptReason:
        """Return why to ask when the keyring has nothing to offer."""
        if self._board.keyring.state is KeyringState.LOCKED:
            return PromptReason.KEYRING_LOCKED
        if self._board.keyring.state is KeyringState.SILENT:
            return PromptReason.KEYRING_SILENT
        return PromptReason.TYPED_REJECTED if case.rejections else PromptReason.NEEDED

    # --- The present login -------------------------------------------------------------------

    def take(self, case: SpaceState, login: Login | None, source: LoginSource) -> None:
        """Make this the login of a case, to be tried on the next request.

        Args:
            case: Which.
            login: None for one's own sign-in.
            source: Where it came from.
        """
        is_again = login is not None and login == case.login and source is LoginSource.SAVED
        unanswered = case.unanswered if is_again else 0
        self.renew(case)
        case.login, case.source, case.unanswered = login, source, unanswered
        case.locked = False
        if login:
            case.user = login.user
            case.insisted = self._board.is_rejected(case.key.upstream_id, login)
        if source is not LoginSource.SAVED and case.why not in NAMES_BEFORE:
            case.setbacks.clear()  # They may have been about the user who signed in.
        if case.phase is not SpacePhase.HELD:
            case.move(SpacePhase.HELD)
        if (
            case.why in (PromptReason.UNCHECKED, PromptReason.UNRECORDED)
            or case.why in NAMES_BEFORE
        ):
            case.why = PromptReason.NEEDED
        self._board.changed(case)

    def renew(self, case: SpaceState) -> None:
        """Begin a new generation, without a login; the last one is not accepted any more."""
        if case.on_record and case.login:
            self._board.effects.append(CancelTrial(case.key.upstream_id, case.login))
        case.on_record = False
        case.end_record()
        if case.login and case.accepted is None and case.phase is SpacePhase.CHECKING:
            case.untold[case.generation] = case.login
            if len(case.untold) > _UNTOLD_MOST:
                del case.untold[min(case.untold)]
        case.generation += 1
        case.login, case.remember, case.consent = None, False, None
        case.source = LoginSource.SAVED
        case.accepted, case.doubts, case.unanswered = None, 0, 0
        case.stumbles = 0
        case.scheme, case.strict_until = "", 0.0
        case.labels.clear()
        case.goods.clear()
        case.vague.clear()
        case.own_targets.clear()
        case.trial = None
        case.blocked = case.unsent = False
        case.suspects.clear()
        case.flights.clear()
        for request in case.parked.values():
            request.refused, request.objection = False, None
        case.stop_trial()
        case.lookup, case.lookup_until = None, inf
