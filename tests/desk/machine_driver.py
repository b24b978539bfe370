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
SPACE = ProtectionSpace(UpstreamId.of(OFFICE), "Corp", BY_LOGIN)
LAB_SPACE = ProtectionSpace(UpstreamId.of(LAB), "Lab", BY_LOGIN)
BASIC_METHOD = SignInMethod("Basic", Transport.READABLE)
BASIC = OfferedScheme("basic", BASIC_METHOD, "basic")
DIGEST = OfferedScheme("digest", SignInMethod("Digest", Transport.SCRAMBLED), "digest-md5")
NTLM = OfferedScheme("ntlm", SignInMethod("NTLM", Transport.SCRAMBLED), "ntlm")
NEGOTIATE = OfferedScheme("negotiate", SignInMethod("Negotiate", Transport.SCRAMBLED), "negotiate")
OFFER_OF_SCHEME = {offer.scheme: offer for offer in (BASIC, DIGEST, NTLM, NEGOTIATE)}
RIGHT = Login("jdoe", "right")
WRONG = Login("jdoe", "wrong")
GNOME = KeyringStatus(KeyringState.OK, "GNOME Keyring")
LOCKED = KeyringStatus(KeyringState.LOCKED, "GNOME Keyring")

E = TypeVar("E", bound=Effect)


@dataclass
class MachineDriver:
    """A machine, its clock, and all that it wanted done, in order."""

    limits: DeskLimits = field(default_factory=DeskLimits)
    now: float = 1000.0
    last_request_id: int = 0
    effects: list[Effect] = field(default_factory=list)
    targets: dict[int, str] = field(default_factory=dict)
    fingerprints: dict[UpstreamId, UpstreamFingerprint] = field(default_factory=dict)
    offers: tuple[OfferedScheme, ...] = (BASIC,)
    history: dict[Login, HistoryRecord] = field(default_factory=dict)
    """What earlier runs say about logins."""

    def __post_init__(self) -> None:
        self.machine = Machine(self.limits, RejectedLogins(b"0123456789abcdef"), self.fingerprints)
        self.handle(FrontEndsChanged(1))

    def handle(self, event: Event) -> list[Effect]:
        effects = self.machine.handle(self.now, event)
        for effect in effects:  # It grows meanwhile.
            if isinstance(effect, RecordTrial):
                found = self.history.get(effect.login, HistoryRecord())
                if effect.retry_rejected:
                    found = HistoryRecord()
                event = TrialRecorded(
                    effect.number, effect.upstream_id, effect.login, *astuple(found)
                )
                effects += self.machine.handle(self.now, event)
        self.effects += effects
        return effects

    def advance(self, seconds: float) -> list[Effect]:
        """Let time pass, with a tick at each deadline as the shell does it."""
        end, effects = self.now + seconds, list[Effect]()
        while (deadline := self.machine.deadline()) <= end:
            assert deadline > self.now, "the machine would never sleep"
            self.now = deadline
            effects += self.handle(TimePassed())
        self.now = end
        return effects

    # --- Short for events ---

    def challenge(
        self,
        space: ProtectionSpace = SPACE,
        profile: Profile = OFFICE,
        target: str = "",
        tried: LoginId | None = None,
        program: Program | None = None,
        has_changed_realm: bool = False,
        verdict: Verdict | None = None,
        scheme: str = "",
        offers: tuple[OfferedScheme, ...] | None = None,
        is_final: bool = False,
        is_own: bool = False,
        offers_other_scheme: bool = False,
        refused_with: tuple[tuple[LoginId, str], ...] = (),
        permit: int | None = None,
    ) -> int:
        """Let a request get a 407; return its number.

        Args:
            otherwise: The 407 does not offer what the request was sent with.
            spent: What the request was sent with before.
        """
        self.last_request_id += 1
        where = target or f"host{self.last_request_id}.example:443"
        self.targets[self.last_request_id] = where
        carried = None
        if tried:
            name = scheme or "basic"
            # By default the request that was released last.
            number = self.permit_of(tried) if permit is None else permit
            carried = TriedLogin(
                tried, name, verdict, is_final, has_changed_realm, not offers_other_scheme, number
            )
        offered = self.offers if offers is None else offers
        self.handle(
            RequestChallenged(
                self.last_request_id,
                space,
                profile,
                offered,
                where,
                carried,
                program,
                is_own,
                frozenset(refused_with),
            ),
        )
        return self.last_request_id

    def permit_of(self, login_id: LoginId) -> int:
        """Return the number of the last request that was released with a login; 0 if none was."""
        found = [
            effect.request_id
            for effect in self.effects_of(ReleaseRequest)
            if effect.login_id == login_id
        ]
        return found[-1] if found else 0

    def disconnect(self, request: int) -> list[Effect]:
        return self.handle(ClientLeft(request))

    def finish_lookup(self, login: Login | None, keyring: KeyringStatus = GNOME) -> list[Effect]:
        """Answer the last question to the keyring."""
        return self.handle(LookupFinished(self.effects_of(LookUpLogin)[-1].lookup, login, keyring))

    def answer_prompt(self, login: Login, remember: bool = True) -> list[Effect]:
        return self.handle(PromptAnswered(self.prompt.number, login, remember))

    def touch_prompt(self) -> list[Effect]:
        return self.handle(PromptTouched(self.prompt.number))

    def decline_prompt(self, snooze: Snooze = Snooze.A_MINUTE) -> list[Effect]:
        return self.handle(PromptDeclined(self.prompt.number, snooze))

    def accept(self, request: int) -> list[Effect]:
        """Let the request that was released come back with a 200."""
        scheme = self.scheme_of(request)
        target, label = self.targets.get(request, ""), OFFER_OF_SCHEME[scheme].label
        return self.handle(LoginAccepted(self.login_id_of(request), scheme, label, target, request))

    def respond_unproved(self, request: int, *, is_doubtful: bool = True) -> list[Effect]:
        """Let the request that was released come back with an answer that proves nothing."""
        return self.handle(
            LoginUnproved(self.login_id_of(request), self.targets[request], is_doubtful, request)
        )

    def end_without_response(self, request: int, *, was_sent: bool = False) -> list[Effect]:
        """Let the request that was released come back with nothing."""
        return self.handle(NoResponse(self.login_id_of(request), was_sent, request))

    def reject(self, request: int, space: ProtectionSpace = SPACE, target: str = "") -> int:
        """Let the request that was released come back with a 407; return its new number."""
        return self.challenge(space, tried=self.login_id_of(request), target=target, permit=request)

    # --- To where most stories begin ---

    def open_prompt(self, count: int = 1) -> list[int]:
        """Let requests come, the keyring be empty and the question open."""
        requests = [self.challenge() for _ in range(count)]
        self.finish_lookup(None)
        self.advance(self.limits.prompt_delay)
        return requests

    def sign_in(self, login: Login = RIGHT) -> LoginId:
        """Let a login be asked for, typed and accepted."""
        (request,) = self.open_prompt()
        self.answer_prompt(login)
        self.accept(request)
        return self.login_id_of(request)

    # --- What came of it ---

    @property
    def prompt(self) -> Prompt:
        (number,) = self.machine.prompt_numbers()
        prompt = self.machine.prompt(number)
        assert prompt
        return prompt

    @property
    def due_prompt(self) -> Prompt:
        """The question, after the moment that it takes to open."""
        self.advance(self.limits.prompt_delay)
        return self.prompt

    @property
    def is_prompting(self) -> bool:
        return bool(self.machine.prompt_numbers())

    def effects_of(self, kind: type[E]) -> list[E]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def released(self) -> list[int]:
        return [effect.request_id for effect in self.effects_of(ReleaseRequest)]

    def login_id_of(self, request: int) -> LoginId:
        (login_id,) = [
            effect.login_id
            for effect in self.effects_of(ReleaseRequest)
            if effect.request_id == request
        ]
        return login_id

    def scheme_of(self, request: int) -> str:
        (scheme,) = [
            effect.scheme
            for effect in self.effects_of(ReleaseRequest)
            if effect.request_id == request
        ]
        return scheme

    def refused(self) -> dict[int, str]:
        return {effect.request_id: effect.reason.name for effect in self.effects_of(RefuseRequest)}

    def endings(self) -> list[str]:
        return [effect.ending.name for effect in self.effects_of(NotifyPromptClosed)]


def sign_in_state(driver: MachineDriver) -> SignInState:
    """Return what the office's profile says of its sign-in."""
    return driver.machine.facts("office").sign_in
