"""The driver shared by the tests of the desk's state machine: it plays events and keeps the
effects."""

from dataclasses import astuple, dataclass, field, replace
from math import inf
from typing import Any, TypeVar

from tests.support import values
from tests.support.values import GNOME, LAB, RIGHT
from trayproxy.auth.login import Login
from trayproxy.auth.scheme import Verdict
from trayproxy.desk.history import HistoryRecord
from trayproxy.desk.machine import events
from trayproxy.desk.machine.current_login import CurrentLogin
from trayproxy.desk.machine.limits import DeskLimits
from trayproxy.desk.machine.machine import Machine
from trayproxy.desk.machine.prompt_state import PromptState
from trayproxy.desk.machine.space_state import Lookup, SpacePhase, SpaceState
from trayproxy.desk.machine.state import DeskState
from trayproxy.desk.protection_space import (
    BY_LOGIN,
    LoginId,
    ProtectionSpace,
    UpstreamFingerprint,
    UpstreamId,
)
from trayproxy.desk.rejected_logins import RejectedLogins
from trayproxy.domain.signin import KeyringStatus, Program, Prompt, SignInState, Snooze, Transport
from trayproxy.profiles.profile import Profile

OFFICE = replace(values.OFFICE, user="jdoe")
SPACE = ProtectionSpace(UpstreamId.of(OFFICE), "Corp", BY_LOGIN)
LAB_SPACE = ProtectionSpace(UpstreamId.of(LAB), "Lab", BY_LOGIN)
BASIC_METHOD = events.SignInMethod("Basic", Transport.READABLE)
BASIC = events.OfferedScheme("basic", BASIC_METHOD, "basic")
DIGEST = events.OfferedScheme(
    "digest", events.SignInMethod("Digest", Transport.SCRAMBLED), "digest-md5"
)
NTLM = events.OfferedScheme("ntlm", events.SignInMethod("NTLM", Transport.SCRAMBLED), "ntlm")
NEGOTIATE = events.OfferedScheme(
    "negotiate", events.SignInMethod("Negotiate", Transport.SCRAMBLED), "negotiate"
)
OFFER_OF_SCHEME = {offer.scheme: offer for offer in (BASIC, DIGEST, NTLM, NEGOTIATE)}

E = TypeVar("E", bound=events.Effect)


def space_state(phase: SpacePhase = SpacePhase.NO_LOGIN, **parts: Any) -> SpaceState:
    """Return a protection space of the profile "office" in a phase, with the first login."""
    defaults = {
        "key": SPACE,
        "profile": OFFICE,
        "seen_at": 1000.0,
        "prompt": PromptState(BASIC_METHOD),
        "lookup": Lookup(1000.0),
        "current": CurrentLogin(RIGHT, generation=1),
        "offers": (BASIC,),
    }
    return SpaceState(phase=phase, **{**defaults, **parts})


def desk_state(*spaces: SpaceState, fingerprint: str = "", can_send_own: bool = True) -> DeskState:
    """Return the state of a machine with protection spaces at the time 1000.

    Args:
        spaces: The protection spaces.
        fingerprint: The strength label with which the upstream of `SPACE` has accepted a login in
            the realm of `SPACE`; empty for no fingerprint.
        can_send_own: True if own requests can be sent.
    """
    found = {SPACE.upstream_id: UpstreamFingerprint(fingerprint, ("Corp",))} if fingerprint else {}
    state = DeskState(DeskLimits(), RejectedLogins(b"0123456789abcdef"), found)
    state.now, state.can_send_own = 1000.0, can_send_own
    state.spaces = {space.key: space for space in spaces}
    return state


@dataclass
class MachineDriver:
    """A machine with its clock and all its effects in order."""

    limits: DeskLimits = field(default_factory=DeskLimits)
    now: float = 1000.0
    last_request_id: int = 0
    effects: list[events.Effect] = field(default_factory=list)
    targets: dict[int, str] = field(default_factory=dict)
    fingerprints: dict[UpstreamId, UpstreamFingerprint] = field(default_factory=dict)
    offers: tuple[events.OfferedScheme, ...] = (BASIC,)
    history: dict[Login, HistoryRecord] = field(default_factory=dict)
    """The records of earlier runs by login."""
    front_ends_left_at: float = inf
    """When the last front end disconnected; infinity while one is connected."""

    def __post_init__(self) -> None:
        self.machine = Machine(self.limits, RejectedLogins(b"0123456789abcdef"), self.fingerprints)
        self.handle(events.FrontEndsChanged(1))

    @property
    def has_front_end(self) -> bool:
        """True if a front end is connected, or was within the grace period."""
        return self.now < self.front_ends_left_at + self.limits.front_end_grace

    def handle(self, event: events.Event) -> list[events.Effect]:
        if isinstance(event, events.FrontEndsChanged):
            left_at = min(self.front_ends_left_at, self.now)
            self.front_ends_left_at = inf if event.count else left_at
        effects = self.machine.handle(self.now, event)
        for effect in effects:  # The list grows in the loop.
            if isinstance(effect, events.RecordTrial):
                found = self.history.get(effect.login, HistoryRecord())
                if effect.retry_rejected:
                    found = HistoryRecord()
                event = events.TrialRecorded(
                    effect.number, effect.upstream_id, effect.login, *astuple(found)
                )
                effects += self.machine.handle(self.now, event)
        self.effects += effects
        return effects

    def advance(self, seconds: float) -> list[events.Effect]:
        """Advance the clock, with a `TimePassed` at each deadline as the desk does it."""
        end, effects = self.now + seconds, list[events.Effect]()
        while (deadline := self.machine.deadline()) <= end:
            assert deadline > self.now, "the deadline has passed already"
            self.now = deadline
            effects += self.handle(events.TimePassed())
        self.now = end
        return effects

    # --- Events ----------------------------------------------------------------------------------

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
        offers: tuple[events.OfferedScheme, ...] | None = None,
        is_final: bool = False,
        is_own: bool = False,
        offers_other_scheme: bool = False,
        refused_with: tuple[tuple[LoginId, str], ...] = (),
        permit: int | None = None,
    ) -> int:
        """Challenge a request with a 407 and return the number of the request.

        Args:
            space: The protection space of the 407.
            profile: The profile of the request.
            target: The target of the request; a new host if empty.
            tried: The login that the refused request carried, if any.
            program: The program of the request, if it is known.
            has_changed_realm: As in `TriedLogin`.
            verdict: As in `TriedLogin`.
            scheme: The scheme of the tried login; Basic if empty.
            offers: The offered schemes; those of the driver if None.
            is_final: As in `TriedLogin`.
            is_own: As in `RequestChallenged`.
            offers_other_scheme: True if the 407 does not offer the tried scheme.
            refused_with: As in `RequestChallenged`.
            permit: The number of the released request; that of the last release of the login if
                None.
        """
        self.last_request_id += 1
        where = target or f"host{self.last_request_id}.example:443"
        self.targets[self.last_request_id] = where
        carried = None
        if tried:
            name = scheme or "basic"
            # By default the last released request.
            number = self.permit_of(tried) if permit is None else permit
            carried = events.TriedLogin(
                tried, name, verdict, is_final, has_changed_realm, not offers_other_scheme, number
            )
        offered = self.offers if offers is None else offers
        self.handle(
            events.RequestChallenged(
                self.last_request_id,
                space,
                profile,
                offered,
                where,
                carried,
                program,
                is_own,
                frozenset(refused_with),
            )
        )
        return self.last_request_id

    def permit_of(self, login_id: LoginId) -> int:
        """Return the number of the last request released with a login; 0 if there is none."""
        found = [
            effect.request_id
            for effect in self.effects_of(events.ReleaseRequest)
            if effect.login_id == login_id
        ]
        return found[-1] if found else 0

    def disconnect(self, request: int) -> list[events.Effect]:
        return self.handle(events.ClientLeft(request))

    def finish_lookup(
        self, login: Login | None, keyring: KeyringStatus = GNOME
    ) -> list[events.Effect]:
        """Finish the last keyring look-up."""
        return self.handle(
            events.LookupFinished(self.effects_of(events.LookUpLogin)[-1].lookup, login, keyring)
        )

    def answer_prompt(self, login: Login, remember: bool = True) -> list[events.Effect]:
        return self.handle(events.PromptAnswered(self.prompt.number, login, remember))

    def touch_prompt(self) -> list[events.Effect]:
        return self.handle(events.PromptTouched(self.prompt.number))

    def decline_prompt(self, snooze: Snooze = Snooze.A_MINUTE) -> list[events.Effect]:
        return self.handle(events.PromptDeclined(self.prompt.number, snooze))

    def accept(self, request: int) -> list[events.Effect]:
        """Respond to a released request with a 200."""
        scheme = self.scheme_of(request)
        target, label = self.targets.get(request, ""), OFFER_OF_SCHEME[scheme].label
        return self.handle(
            events.LoginAccepted(self.login_id_of(request), scheme, label, target, request)
        )

    def respond_unproved(self, request: int, *, is_doubtful: bool = True) -> list[events.Effect]:
        """Respond to a released request without proof of its login."""
        return self.handle(
            events.LoginUnproved(
                self.login_id_of(request), self.targets[request], is_doubtful, request
            )
        )

    def end_without_response(self, request: int, *, was_sent: bool = False) -> list[events.Effect]:
        """End a released request without a response."""
        return self.handle(events.NoResponse(self.login_id_of(request), was_sent, request))

    def reject(self, request: int, space: ProtectionSpace = SPACE, target: str = "") -> int:
        """Respond to a released request with a 407; return its new number."""
        return self.challenge(space, tried=self.login_id_of(request), target=target, permit=request)

    # --- Common starting points ------------------------------------------------------------------

    def open_prompt(self, count: int = 1) -> list[int]:
        """Challenge requests, find no login in the keyring and open the prompt; return the
        requests."""
        requests = [self.challenge() for _ in range(count)]
        self.finish_lookup(None)
        self.advance(self.limits.prompt_delay)
        return requests

    def sign_in(self, login: Login = RIGHT) -> LoginId:
        """Open a prompt, answer it with a login and accept the login."""
        (request,) = self.open_prompt()
        self.answer_prompt(login)
        self.accept(request)
        return self.login_id_of(request)

    # --- Effects ---------------------------------------------------------------------------------

    @property
    def prompt(self) -> Prompt:
        (number,) = self.machine.prompt_numbers()
        prompt = self.machine.prompt(number)
        assert prompt
        return prompt

    @property
    def due_prompt(self) -> Prompt:
        """The open prompt, after the delay of the prompt."""
        self.advance(self.limits.prompt_delay)
        return self.prompt

    @property
    def is_prompting(self) -> bool:
        return bool(self.machine.prompt_numbers())

    def effects_of(self, kind: type[E]) -> list[E]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def released(self) -> list[int]:
        return [effect.request_id for effect in self.effects_of(events.ReleaseRequest)]

    def login_id_of(self, request: int) -> LoginId:
        (login_id,) = [
            effect.login_id
            for effect in self.effects_of(events.ReleaseRequest)
            if effect.request_id == request
        ]
        return login_id

    def scheme_of(self, request: int) -> str:
        (scheme,) = [
            effect.scheme
            for effect in self.effects_of(events.ReleaseRequest)
            if effect.request_id == request
        ]
        return scheme

    def refused(self) -> dict[int, str]:
        return {
            effect.request_id: effect.reason.name
            for effect in self.effects_of(events.RefuseRequest)
        }

    def endings(self) -> list[str]:
        return [effect.ending.name for effect in self.effects_of(events.NotifyPromptClosed)]


def sign_in_state(driver: MachineDriver) -> SignInState:
    """Return the sign-in state of the profile "office"."""
    return driver.machine.facts("office").sign_in
