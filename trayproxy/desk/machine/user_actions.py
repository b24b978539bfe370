"""What the person does: answers, declines, asks to sign in, forgets."""

from collections.abc import Iterable
from math import inf

from trayproxy.auth.login import Login
from trayproxy.control.messages import Ending, KeyringState, PromptReason, Snooze
from trayproxy.desk.machine.credential_lookup import CredentialLookup
from trayproxy.desk.machine.events import (
    ClearHistory,
    LoginGiven,
    PromptAnswered,
    RefusalReason,
    SignInMethod,
    SurveyKeyring,
)
from trayproxy.desk.machine.prompts import Prompts
from trayproxy.desk.machine.scheme_policy import pick
from trayproxy.desk.machine.space_state import REJECTED, LoginSource, SpacePhase, SpaceState
from trayproxy.desk.machine.state import DeskState
from trayproxy.desk.machine.verification import Verification
from trayproxy.desk.protection_space import ProtectionSpace, UpstreamId
from trayproxy.profiles.profile import Profile, SignIn


class UserActions:
    """Does what the person wants."""

    def __init__(
        self, board: DeskState, questions: Prompts, logins: CredentialLookup, trials: Verification
    ) -> None:
        self._board = board
        self._questions = questions
        self._logins = logins
        self._trials = trials

    # --- Answers -----------------------------------------------------------------------------

    def typed(self, event: PromptAnswered) -> None:
        """Take an answer to a question."""
        case = self._board.asked(event.number)
        if case is None or case.asked is None or case.is_checking:
            return
        self._questions.touch(case)
        if self._is_known_wrong(case, event.login):
            return self._repeat(case, event.login)
        if self._is_on_trial(case, event.login):
            self._wait_for_verdict(case)
        else:
            offers = case.objected[0].offers if case.objected else case.offers
            told = pick(case, offers, self._board.now) if case.key.family else None
            self._logins.take(case, event.login, LoginSource.TYPED)
            case.consent = told
        case.remember = event.remember
        if not case.parked and not self._board.tries_itself:
            # Nobody waits any more: the next request tries it, and is not asked about.
            self._questions.close(case, Ending.ABANDONED)
        return None

    @staticmethod
    def _is_on_trial(case: SpaceState, login: Login) -> bool:
        """Whether this very login is on its way already, or about to be: once is enough."""
        is_open = case.phase in (SpacePhase.CHECKING, SpacePhase.HELD) and case.accepted is None
        return is_open and case.source is LoginSource.TYPED and case.login == login

    def _wait_for_verdict(self, case: SpaceState) -> None:
        """Go on with the trial of a login that was typed again before its verdict came."""
        case.why = PromptReason.NEEDED
        case.own_generation = 0
        if case.phase is SpacePhase.CHECKING:
            case.canary_until = self._board.now + self._board.rules.canary
        self._board.changed(case)

    def _is_known_wrong(self, case: SpaceState, login: Login) -> bool:
        if case.lifted or case.is_hurried(self._board.now, self._board.rules):
            return False
        if case.accepted is not None and login == case.login:
            return False  # It was right until now, and may be right still.
        return self._board.is_rejected(case.key.upstream_id, login)

    def _repeat(self, case: SpaceState, login: Login) -> None:
        """Tell the person that this login was rejected already; sending it costs a log-on."""
        case.repeated = True
        case.user = login.user
        case.why = PromptReason.REPEATED
        self._board.changed(case)

    def declined(self, number: int, quiet: Snooze) -> None:
        """Leave the person alone for a while."""
        case = self._board.asked(number)
        if case is None:
            return None
        self._questions.close(case, Ending.DECLINED)
        if case.phase is SpacePhase.TRUSTED:
            return self._decline_weaker(case, quiet)
        if case.phase is SpacePhase.HELD and case.source is not LoginSource.TYPED:
            return None
        self._logins.renew(case)
        case.quiet_until = self._board.now + self._quiet_time(quiet)
        case.quiet_lifts_with_network = quiet is not Snooze.A_MINUTE
        case.needed = True
        case.move(SpacePhase.QUIET)
        return self._board.refuse_all(case, RefusalReason.DECLINED)

    def _decline_weaker(self, case: SpaceState, quiet: Snooze) -> None:
        """Refuse the requests that need a weaker way; the login stays in use for the others."""
        case.why = PromptReason.NEEDED
        if case.objected:
            case.strict_until = self._board.now + self._quiet_time(quiet)
        for request in case.objected:
            self._board.leave(request.waiter)
            self._board.refuse(request.waiter, RefusalReason.DECLINED)

    def _quiet_time(self, quiet: Snooze) -> float:
        match quiet:
            case Snooze.A_MINUTE:
                return self._board.rules.quiet
            case Snooze.A_WHILE:
                return self._board.rules.not_now
            case Snooze.UNTIL_CHOSEN:
                return inf

    def end_quiet(self, cases: Iterable[SpaceState]) -> None:
        """Ask again where the person did not want to be asked."""
        for case in cases:
            if case.phase is SpacePhase.QUIET:
                case.move(SpacePhase.ASKING)

    def touched(self, number: int) -> None:
        """Take note that the person has begun to answer."""
        case = self._board.asked(number)
        if case:
            self._questions.touch(case)

    # --- Of their own accord -----------------------------------------------------------------

    def wanted(self, profile: Profile, way: SignInMethod) -> None:
        """Open the question of a profile although nothing waits.

        One's own sign-in is looked at again in its place: there is nothing to ask.
        """
        board = self._board
        cases = board.cases_of(profile.id)
        case = most_wanted(cases) if cases else self._case_at(profile, way)
        if case is None:
            return
        if profile.sign_in is SignIn.SSO:
            return self._look_again(case)
        case.lifted, case.relook_at = True, board.now
        if case.phase in (SpacePhase.EMPTY, SpacePhase.QUIET):
            case.move(SpacePhase.ASKING)
        if case.why not in REJECTED and not case.parked:
            case.why = PromptReason.ASKED_FOR
        if case.asked is None:
            self._questions.open(case)
        self._questions.touch(case)
        if board.keyring.state is KeyringState.UNKNOWN:
            board.effects.append(SurveyKeyring())
        return None

    def _look_again(self, case: SpaceState) -> None:
        case.setbacks.clear()
        if case.phase is SpacePhase.EMPTY:
            self._logins.take(case, None, LoginSource.OWN)
        if case.phase is SpacePhase.HELD and self._board.tries_itself:
            self._trials.try_ourselves(case)

    def given(self, event: LoginGiven) -> None:
        """Take a login that nobody was asked for."""
        case = self._case_at(event.profile, event.way)
        if case is None:
            return
        self._logins.take(case, event.login, LoginSource.GIVEN)
        case.remember = event.remember
        case.insisted = case.insisted or event.insists
        if event.is_proved:
            self._board.keep_user(case, replaces=True)

    def _case_at(self, profile: Profile, way: SignInMethod) -> SpaceState | None:
        """Return the case of a profile's preferred upstream that a person means."""
        space = UpstreamId.of(profile)
        cases = self._board.cases_at(space)
        if cases:
            return most_wanted(cases)
        return self._board.new_case(ProtectionSpace.blank(space), profile, way)

    def forgotten(self, profile_id: str) -> None:
        """Forget the logins of a profile, and all that was learnt with them."""
        board = self._board
        for case in board.cases_of(profile_id):
            if case.login:
                board.rejected.discard(board.places(case.key.upstream_id), case.login)
            self.reset(case)
        board.saved.discard(profile_id)
        self.unremember(profile_id)

    def unremember(self, profile_id: str) -> None:
        """Forget what is remembered between runs about a profile."""
        for space in [s for s in self._board.pins if s.profile_id == profile_id]:
            del self._board.pins[space]
        self._board.effects.append(ClearHistory(profile_id))

    def reset(self, case: SpaceState) -> None:
        """Forget the login of a case; who waits is asked about as if for the first time."""
        self._logins.renew(case)
        case.rejections.clear()
        case.setbacks.clear()
        case.forbidden.clear()
        case.repeated = case.lifted = case.locked = False
        case.why, case.user, case.relook_at = PromptReason.NEEDED, "", self._board.now
        if case.phase is SpacePhase.QUIET:
            return
        if case.parked or case.asked:
            return self._questions.ask(case, PromptReason.NEEDED)
        if case.phase is not SpacePhase.EMPTY:
            case.move(SpacePhase.EMPTY)
        return None


def most_wanted(cases: Iterable[SpaceState]) -> SpaceState:
    """Return the case that a person means who does not say which."""
    return max(cases, key=lambda c: (c.asked is not None, c.needed, c.seen))
