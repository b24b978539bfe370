"""Plays events to a machine and keeps the effects: what the tests of the machine share."""

from dataclasses import astuple, dataclass, field
from typing import TypeVar

from trayproxy.auth.login import Login
from trayproxy.auth.scheme import Verdict
from trayproxy.control.messages import (
    KeyringState,
    KeyringStatus,
    Program,
    Prompt,
    SignInState,
    Snooze,
    Transport,
)
from trayproxy.desk.history import HistoryRecord
from trayproxy.desk.machine.events import (
    ClientLeft,
    Effect,
    Event,
    FrontEndsChanged,
    LoginAccepted,
    LoginUnproved,
    LookupFinished,
    LookUpLogin,
    NoResponse,
    NotifyPromptClosed,
    OfferedScheme,
    PromptAnswered,
    PromptDeclined,
    PromptTouched,
    RecordTrial,
    RefuseRequest,
    ReleaseRequest,
    RequestChallenged,
    SignInMethod,
    TimePassed,
    TrialRecorded,
    TriedLogin,
)
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.machine.machine import Machine
from trayproxy.desk.protection_space import (
    BY_LOGIN,
    LoginId,
    ProtectionSpace,
    UpstreamFingerprint,
    UpstreamId,
)
from trayproxy.desk.rejected_logins import RejectedLogins
from trayproxy.profiles.profile import Profile, Upstream

OFFICE = Profile("office", "Office", Upstream("proxy.corp.example", 8080), user="jdoe")
LAB = Profile("lab", "Lab", Upstream("lab-px", 3128))
KEY = ProtectionSpace(UpstreamId.of(OFFICE), "Corp", BY_LOGIN)
LAB_KEY = ProtectionSpace(UpstreamId.of(LAB), "Lab", BY_LOGIN)
WAY = SignInMethod("Basic", Transport.READABLE)
BASIC = OfferedScheme("basic", WAY, "basic")
DIGEST = OfferedScheme("digest", SignInMethod("Digest", Transport.SCRAMBLED), "digest-md5")
NTLM = OfferedScheme("ntlm", SignInMethod("NTLM", Transport.SCRAMBLED), "ntlm")
NEGOTIATE = OfferedScheme("negotiate", SignInMethod("Negotiate", Transport.SCRAMBLED), "negotiate")
OFFERED = {offer.scheme: offer for offer in (BASIC, DIGEST, NTLM, NEGOTIATE)}
RIGHT = Login("jdoe", "right")
WRONG = Login("jdoe", "wrong")
GNOME = KeyringStatus(KeyringState.OK, "GNOME Keyring")
LOCKED = KeyringStatus(KeyringState.LOCKED, "GNOME Keyring")

E = TypeVar("E", bound=Effect)


@dataclass
class Play:
    """A machine, its clock, and all that it wanted done, in order."""

    rules: DeskLimits = field(default_factory=DeskLimits)
    now: float = 1000.0
    waiters: int = 0
    effects: list[Effect] = field(default_factory=list)
    targets: dict[int, str] = field(default_factory=dict)
    pins: dict[UpstreamId, UpstreamFingerprint] = field(default_factory=dict)
    offers: tuple[OfferedScheme, ...] = (BASIC,)
    records: dict[Login, HistoryRecord] = field(default_factory=dict)
    """What earlier runs say about logins."""

    def __post_init__(self) -> None:
        self.machine = Machine(self.rules, RejectedLogins(b"0123456789abcdef"), self.pins)
        self.do(FrontEndsChanged(1))

    def do(self, event: Event) -> list[Effect]:
        effects = self.machine.handle(self.now, event)
        for effect in effects:  # It grows meanwhile.
            if isinstance(effect, RecordTrial):
                found = self.records.get(effect.login, HistoryRecord())
                if effect.retry_rejected:
                    found = HistoryRecord()
                event = TrialRecorded(
                    effect.number, effect.upstream_id, effect.login, *astuple(found)
                )
                effects += self.machine.handle(self.now, event)
        self.effects += effects
        return effects

    def wait(self, seconds: float) -> list[Effect]:
        """Let time pass, with a tick at each deadline as the shell does it."""
        end, effects = self.now + seconds, list[Effect]()
        while (deadline := self.machine.deadline()) <= end:
            assert deadline > self.now, "the machine would never sleep"
            self.now = deadline
            effects += self.do(TimePassed())
        self.now = end
        return effects

    # --- Short for events ---

    def challenge(
        self,
        key: ProtectionSpace = KEY,
        profile: Profile = OFFICE,
        target: str = "",
        tried: LoginId | None = None,
        program: Program | None = None,
        strayed: bool = False,
        verdict: Verdict | None = None,
        scheme: str = "",
        offers: tuple[OfferedScheme, ...] | None = None,
        is_final: bool = False,
        own: bool = False,
        otherwise: bool = False,
        spent: tuple[tuple[LoginId, str], ...] = (),
        flight: int | None = None,
    ) -> int:
        """Let a request get a 407; return its number.

        Args:
            otherwise: The 407 does not offer what the request was sent with.
            spent: What the request was sent with before.
        """
        self.waiters += 1
        where = target or f"host{self.waiters}.example:443"
        self.targets[self.waiters] = where
        carried = None
        if tried:
            name = scheme or "basic"
            # By default the request that was released last.
            number = self.flight(tried) if flight is None else flight
            carried = TriedLogin(tried, name, verdict, is_final, strayed, not otherwise, number)
        offered = self.offers if offers is None else offers
        self.do(
            RequestChallenged(
                self.waiters, key, profile, offered, where, carried, program, own, frozenset(spent)
            ),
        )
        return self.waiters

    def flight(self, mark: LoginId) -> int:
        """Return the number of the last request that was released with a login; 0 if none was."""
        found = [
            effect.request_id for effect in self.all(ReleaseRequest) if effect.login_id == mark
        ]
        return found[-1] if found else 0

    def leave(self, waiter: int) -> list[Effect]:
        return self.do(ClientLeft(waiter))

    def found(self, login: Login | None, keyring: KeyringStatus = GNOME) -> list[Effect]:
        """Answer the last question to the keyring."""
        return self.do(LookupFinished(self.all(LookUpLogin)[-1].lookup, login, keyring))

    def enter(self, login: Login, remember: bool = True) -> list[Effect]:
        return self.do(PromptAnswered(self.question.number, login, remember))

    def touch(self) -> list[Effect]:
        return self.do(PromptTouched(self.question.number))

    def decline(self, quiet: Snooze = Snooze.A_MINUTE) -> list[Effect]:
        return self.do(PromptDeclined(self.question.number, quiet))

    def accept(self, waiter: int) -> list[Effect]:
        """Let the request that was released come back with a 200."""
        scheme = self.scheme(waiter)
        target, label = self.targets.get(waiter, ""), OFFERED[scheme].label
        return self.do(LoginAccepted(self.mark(waiter), scheme, label, target, waiter))

    def answer(self, waiter: int, *, is_doubtful: bool = True) -> list[Effect]:
        """Let the request that was released come back with an answer that proves nothing."""
        return self.do(LoginUnproved(self.mark(waiter), self.targets[waiter], is_doubtful, waiter))

    def fail(self, waiter: int, *, sent: bool = False) -> list[Effect]:
        """Let the request that was released come back with nothing."""
        return self.do(NoResponse(self.mark(waiter), sent, waiter))

    def reject(self, waiter: int, key: ProtectionSpace = KEY, target: str = "") -> int:
        """Let the request that was released come back with a 407; return its new number."""
        return self.challenge(key, tried=self.mark(waiter), target=target, flight=waiter)

    # --- To where most stories begin ---

    def ask(self, requests: int = 1) -> list[int]:
        """Let requests come, the keyring be empty and the question open."""
        waiters = [self.challenge() for _ in range(requests)]
        self.found(None)
        self.wait(self.rules.prompt_delay)
        return waiters

    def trust(self, login: Login = RIGHT) -> LoginId:
        """Let a login be asked for, typed and accepted."""
        (waiter,) = self.ask()
        self.enter(login)
        self.accept(waiter)
        return self.mark(waiter)

    # --- What came of it ---

    @property
    def question(self) -> Prompt:
        (number,) = self.machine.prompt_numbers()
        question = self.machine.prompt(number)
        assert question
        return question

    @property
    def question_due(self) -> Prompt:
        """The question, after the moment that it takes to open."""
        self.wait(self.rules.prompt_delay)
        return self.question

    @property
    def is_asking(self) -> bool:
        return bool(self.machine.prompt_numbers())

    def all(self, kind: type[E]) -> list[E]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def released(self) -> list[int]:
        return [effect.request_id for effect in self.all(ReleaseRequest)]

    def mark(self, waiter: int) -> LoginId:
        (mark,) = [
            effect.login_id for effect in self.all(ReleaseRequest) if effect.request_id == waiter
        ]
        return mark

    def scheme(self, waiter: int) -> str:
        (scheme,) = [
            effect.scheme for effect in self.all(ReleaseRequest) if effect.request_id == waiter
        ]
        return scheme

    def refused(self) -> dict[int, str]:
        return {effect.request_id: effect.reason.name for effect in self.all(RefuseRequest)}

    def endings(self) -> list[str]:
        return [effect.ending.name for effect in self.all(NotifyPromptClosed)]


def fact(play: Play) -> SignInState:
    """Return what the office's profile says of its sign-in."""
    return play.machine.facts("office").sign_in
