"""What one can see of the machine: nothing here changes anything."""

from dataclasses import dataclass
from enum import Enum, auto

from trayproxy.auth.login import Login
from trayproxy.auth.scheme import strength
from trayproxy.control.messages import KeyringStatus, Problem, Program, Prompt, SignInState
from trayproxy.desk.machine.events import RefusalReason
from trayproxy.desk.machine.prompts import NAMES_BEFORE
from trayproxy.desk.machine.scheme_policy import objection, pick, trouble
from trayproxy.desk.machine.space_state import SpacePhase, SpaceState
from trayproxy.desk.machine.state import DeskState
from trayproxy.desk.machine.user_actions import most_wanted
from trayproxy.desk.protection_space import LoginId, UpstreamId
from trayproxy.profiles.profile import Profile

REALM_MOST = 1024
"""Characters of a realm that faces are sent; they show fewer."""

_WORST_FIRST = (
    SignInState.REJECTED,
    SignInState.NEEDED,
    SignInState.SNOOZED,
    SignInState.UNUSABLE,
    SignInState.OK,
    SignInState.UNTESTED,
)


class TrialState(Enum):
    """What is known of a login."""

    UNDER_WAY = auto()
    RIGHT = auto()
    WRONG = auto()
    UNSENT = auto()
    """It was rejected before, and was not sent again."""
    OPEN = auto()
    UNRECORDED = auto()
    """It is not sent, because it cannot be put on record."""


@dataclass(frozen=True, slots=True)
class SignInTrouble:
    """Why no login can be sent to an upstream now.

    Attributes:
        profile: Of which profile.
        reason: What requests are told.
        text: The same for people; empty if the reason says it all.
    """

    profile: Profile
    reason: RefusalReason
    text: str


@dataclass(frozen=True, slots=True)
class ProfileFacts:
    """What a face is told about the sign-in of a profile.

    Attributes:
        sign_in: The worst state among its protection spaces.
        user: The user name that was accepted last, empty if none was.
        snoozed_until: The end of the quiet time on the machine's clock; infinite until the person
            acts; None if nothing is snoozed.
        waiting: How many requests wait.
        saved: The keyring is known to hold a login.
    """

    sign_in: SignInState = SignInState.UNTESTED
    user: str = ""
    snoozed_until: float | None = None
    waiting: int = 0
    saved: bool = False


class Queries:
    """The state of the desk for those who look at it.

    Attributes:
        board: What is known; for the parts of the machine only.
    """

    def __init__(self, board: DeskState) -> None:
        self.board = board

    # --- What one can see --------------------------------------------------------------------

    @property
    def keyring(self) -> KeyringStatus:
        """The password store, as far as it is known."""
        return self.board.keyring

    def login(self, mark: LoginId) -> Login | None:
        """Return the login that a mark names, None if it is the present one no longer."""
        case = self.board.cases.get(mark.space)
        return case.login if case and case.generation == mark.generation else None

    def way(self, mark: LoginId) -> tuple[str, str]:
        """Return the scheme that a login is sent with before it is asked for, and how strong that
        is, as in `Offered`; both empty if that is not known."""
        case = self.board.cases.get(mark.space)
        if case is None or case.login_id != mark:
            return ("", "")
        labels = [label for label, scheme in case.labels.items() if scheme == case.scheme]
        return (case.scheme, max(labels, key=strength, default=""))

    def is_present(self, mark: LoginId) -> bool:
        """Return whether a mark names a present login, or one's own sign-in."""
        case = self.board.cases.get(mark.space)
        return case is not None and case.login_id == mark and case.has_login

    def is_trusted(self, mark: LoginId) -> bool:
        """Return whether a mark names a present login that was found to be right."""
        case = self.board.cases.get(mark.space)
        return case is not None and case.login_id == mark and case.phase is SpacePhase.TRUSTED

    def is_proved(self, mark: LoginId) -> bool:
        """Return whether a mark names a trusted login that no request went unanswered with."""
        case = self.board.cases.get(mark.space)
        return self.is_trusted(mark) and case is not None and not case.unanswered

    def is_settled(self, space: UpstreamId) -> bool:
        """Return whether nothing is asked, put off or in doubt about an upstream, and somebody is
        there whom one could ask."""
        cases = self.board.cases_at(space)
        is_open = any(
            c.asked or c.doubts or c.unanswered or c.phase is SpacePhase.QUIET for c in cases
        )
        return not (is_open or self.board.screen_locked)

    def generation(self, space: UpstreamId) -> int:
        """Return the generation of the login that an upstream would be sent now."""
        cases = self.board.cases_at(space)
        return most_wanted(cases).generation if cases else 0

    def trial(self, space: UpstreamId, generation: int) -> TrialState:
        """Return what is known of a login of an upstream, whatever realm it went to."""
        for case in self.board.cases.values():
            if case.key.upstream_id == space and case.generation == generation:
                return _trial(case)
        return TrialState.OPEN

    def trusted(self) -> dict[UpstreamId, LoginId]:
        """Return the logins to send to upstreams before they ask.

        None for an upstream that goes by several realms: which one a request is for only its 407
        tells, and a login sent to the wrong one is a failed log-on.
        """
        spaces: dict[UpstreamId, list[SpaceState]] = {}
        for case in self.board.cases.values():
            spaces.setdefault(case.key.upstream_id, []).append(case)
        present = {space: self._present(cases) for space, cases in spaces.items()}
        return {s: c.login_id for s, c in present.items() if c and c.phase is SpacePhase.TRUSTED}

    def _present(self, cases: list[SpaceState]) -> SpaceState | None:
        """Return the realm that an upstream goes by, None if by several."""
        if len(cases) > 1:
            since = self.board.now - self.board.rules.realms
            cases = [case for case in cases if case.seen >= since] or cases
        return cases[0] if len(cases) == 1 else None

    def strangers(self, number: int) -> tuple[int, ...]:
        """Return the requests named in a question of which nobody knows who sent them."""
        case = self.board.asked(number)
        named = case.clients[: self.board.rules.programs_most] if case else []
        return tuple(request.waiter for request in named if request.program is None)

    def profiles(self) -> frozenset[str]:
        """Return the profiles of which anything is known."""
        cases = frozenset(key.upstream_id.profile_id for key in self.board.cases)
        return cases | {space.profile_id for space in self.board.unusable}

    def numbers(self) -> tuple[int, ...]:
        """Return the numbers of the open questions, the oldest first."""
        return tuple(sorted(c.asked.number for c in self.board.open_questions() if c.asked))

    def question(self, number: int) -> Prompt | None:
        """Return an open question, whole; None if there is none of that number."""
        case = self.board.asked(number)
        if case is None:
            return None
        programs = [p.program or Program("", 0, p.target) for p in case.clients]
        return Prompt(
            number=number,
            profile_id=case.profile.id,
            profile=case.profile.name,
            upstream=case.key.upstream_id.upstream,
            realm=case.key.realm[:REALM_MOST],
            method=case.way.title,
            transport=case.way.transport,
            user=case.user or case.profile.user,
            reason=case.why,
            programs=tuple(programs[: self.board.rules.programs_most]),
            waiting=len(programs),
            rejections=len(case.rejections),
            confirm_retry=case.is_hurried(self.board.now, self.board.rules),
            checking=case.is_checking,
            keyring=self.board.keyring,
            before=case.before[:REALM_MOST] if case.why in NAMES_BEFORE else "",
        )

    def facts(self, profile_id: str) -> ProfileFacts:
        """Return what is known about the sign-in of a profile."""
        cases = self.board.cases_of(profile_id)
        states = {case.sign_in for case in cases}
        if self.no_common_scheme(profile_id):
            states.add(SignInState.UNUSABLE)
        quiet = [c.quiet_until for c in cases if c.phase is SpacePhase.QUIET]
        trusted = [c for c in cases if c.phase is SpacePhase.TRUSTED and c.login]
        latest = max(trusted, key=lambda case: case.seen, default=None)
        return ProfileFacts(
            next((state for state in _WORST_FIRST if state in states), SignInState.UNTESTED),
            latest.login.user if latest and latest.login else "",
            max(quiet, default=None),
            sum(len(case.clients) for case in cases),
            profile_id in self.board.saved,
        )

    def no_common_scheme(self, profile_id: str = "") -> tuple[Problem, ...]:
        """Return what upstreams offer that TrayProxy cannot use; of all profiles without an id."""
        found = self.board.unusable.items()
        return tuple(p for space, p in found if profile_id in ("", space.profile_id))

    def troubles(self) -> tuple[SignInTrouble, ...]:
        """Return why no login can be sent, for each upstream where that is so."""
        found = map(self._trouble, self.board.cases.values())
        return tuple(dict.fromkeys(filter(None, found)))

    def _trouble(self, case: SpaceState) -> SignInTrouble | None:
        if case.is_record_late:
            return SignInTrouble(case.profile, RefusalReason.UNRECORDED, "")
        if case.phase is not SpacePhase.HELD or not case.needed or not case.offers:
            return None
        offer = pick(case, case.offers, self.board.now)
        if offer and objection(self.board, case, offer, case.offers) is None:
            return None
        found = trouble(case, self.board.now)
        return SignInTrouble(case.profile, found.reason, found.text) if found else None


def _trial(case: SpaceState) -> TrialState:
    if case.phase is SpacePhase.TRUSTED:
        return TrialState.RIGHT
    if case.is_record_late:
        return TrialState.UNRECORDED
    is_about_to_go = case.own or case.blocked or case.recording
    if case.phase is SpacePhase.CHECKING or (case.phase is SpacePhase.HELD and is_about_to_go):
        return TrialState.UNDER_WAY
    if case.unsent:
        return TrialState.UNSENT
    return TrialState.WRONG if case.sign_in is SignInState.REJECTED else TrialState.OPEN
