"""Challenges: parking or refusing a request that received a 407, after any verdict on its login."""

from dataclasses import replace

from msgspec import structs

from trayproxy.auth.scheme import PASSWORD_NOT_CHECKED
from trayproxy.desk.machine.credential_lookup import CredentialLookup
from trayproxy.desk.machine.events import RequestChallenged, SendWithoutLogin, TriedLogin
from trayproxy.desk.machine.outcomes import Outcomes
from trayproxy.desk.machine.scheme_policy import objection, pick
from trayproxy.desk.machine.space_state import ParkedRequest, SpacePhase, SpaceState
from trayproxy.desk.machine.state import DeskState
from trayproxy.desk.machine.verification import OwnRequests
from trayproxy.desk.protection_space import ProtectionSpace
from trayproxy.domain.signin import Program, PromptReason, RefusalReason

_WEAKER_SCHEME = frozenset({PromptReason.DOWNGRADE, PromptReason.FALLBACK})
_WITH_LOGIN = frozenset({SpacePhase.UNVERIFIED, SpacePhase.CHECKING, SpacePhase.TRUSTED})


class Challenges:
    """Handles the 407 responses to requests."""

    def __init__(
        self,
        state: DeskState,
        lookup: CredentialLookup,
        outcomes: Outcomes,
        own_requests: OwnRequests,
    ) -> None:
        self._state = state
        self._lookup = lookup
        self._outcomes = outcomes
        self._own_requests = own_requests

    def handle(self, event: RequestChallenged) -> None:
        """Park a challenged request or refuse it, after the verdict on the login of the request."""
        state, tried = self._state, event.tried
        event = structs.replace(event, space=self._resolve_space(event.space))
        if not state.is_configured(event.space.upstream_id, event.profile):
            return state.refuse(event.request_id, RefusalReason.WITHDRAWN)
        if event.addresses:
            state.addresses[event.space.upstream_id] = event.addresses
        changed_realm = False
        if tried:
            self._outcomes.record_late_rejection(tried)
            changed_realm = tried.login_id.space != event.space
            if changed_realm:
                self._outcomes.handle_other_realm(tried, event.space)
        if event.space not in state.spaces and not event.offers:
            state.effects.append(SendWithoutLogin(event.request_id))
            return None
        space = self._space_for(event)
        if space is None:
            return state.refuse(event.request_id, RefusalReason.CROWDED)
        if event.offers:
            state.no_common_scheme.pop(event.space.upstream_id, None)
        self._record_challenge(space, event)
        request = ParkedRequest(
            event.request_id,
            state.now,
            event.target,
            event.program,
            event.offers,
            event.is_own,
            refused_with=event.refused_with,
        )
        if tried is None:
            return self._park_or_refuse(space, request)
        in_flight = tried.permit in space.doubt.in_flight
        space.doubt = space.doubt.returned(tried.permit)
        if changed_realm and tried.has_changed_realm:
            return state.refuse(event.request_id, RefusalReason.FORBIDDEN)
        if tried.login_id == space.login_id:
            return self._handle_refused_request(space, request, event, tried, in_flight)
        return self._park_or_refuse(space, request)

    def set_program(self, request_id: int, program: Program) -> None:
        """Set the program of a parked request."""
        space = self._state.space_of_request(request_id)
        if space:
            space.parked[request_id] = replace(space.parked[request_id], program=program)
            self._state.prompt_changed(space)

    def _record_challenge(self, space: SpaceState, event: RequestChallenged) -> None:
        """Update a protection space with the schemes and the target of a challenged request."""
        space.seen_at = self._state.now
        space.trial = space.trial.challenged(event.target, is_own=event.is_own)
        if event.offers:
            space.offers = event.offers
            offer = pick(space, event.offers, self._state.now)
            space.prompt = replace(space.prompt, method=(offer or event.offers[0]).method)

    def _handle_refused_request(
        self,
        space: SpaceState,
        request: ParkedRequest,
        event: RequestChallenged,
        tried: TriedLogin,
        in_flight: bool,
    ) -> None:
        """Handle a request that was refused with the current login: park it again or refuse it."""
        state = self._state
        is_trial = in_flight or event.is_own or not space.current.was_accepted
        if event.offers and not tried.is_offered_again and not tried.is_final:
            self._outcomes.handle_other_scheme(space, tried, is_trial=is_trial)
            return self._park_or_refuse(space, request)
        verdict = tried.verdict
        if verdict and verdict.kind in PASSWORD_NOT_CHECKED:
            is_offered = not event.offers or any(
                offer.scheme == tried.scheme for offer in event.offers
            )
            if not self._outcomes.handle_unusable_scheme(
                space, tried, verdict, is_offered=is_offered, is_trial=is_trial
            ):
                return state.refuse(event.request_id, RefusalReason.UNUSABLE, verdict.text)
            if space.phase is SpacePhase.NO_LOGIN and space.parked:
                self._lookup.start(space)
            if pick(space, event.offers, state.now) is None:
                # A 407 within a handshake may omit other schemes of the upstream, and the offers of
                # an earlier 407 may be outdated.
                state.effects.append(SendWithoutLogin(event.request_id))
                return None
            return self._park_or_refuse(space, request)
        if self._outcomes.handle_refusal(space, event, tried, is_trial=is_trial):
            return self._park_or_refuse(space, request)
        is_trusted = space.phase is SpacePhase.TRUSTED
        if is_trusted or event.is_own or not self._outcomes.can_verify(space):
            return state.refuse(event.request_id, RefusalReason.FORBIDDEN)
        self._park_or_refuse(space, replace(request, was_refused=True))
        return self._own_requests.send(space)

    def _resolve_space(self, key: ProtectionSpace) -> ProtectionSpace:
        """Return the protection space of a 407.

        A 407 without a realm, as with NTLM and Negotiate, is about the known realm of the upstream;
        if several realms are known, about the trusted realm seen last.
        """
        if key.realm or key in self._state.spaces:
            return key
        known = [
            s for s in self._state.spaces_of_upstream(key.upstream_id) if s.key.family == key.family
        ]
        latest = max(known, key=lambda s: (s.phase is SpacePhase.TRUSTED, s.seen_at), default=None)
        return latest.key if latest else key

    def _space_for(self, event: RequestChallenged) -> SpaceState | None:
        """Return the state of the challenged protection space.

        The first challenge of an upstream fills in the blank state created for a login without a
        challenge.
        """
        state = self._state
        if space := state.spaces.get(event.space):
            return space
        blank_space = state.spaces.pop(ProtectionSpace.blank(event.space.upstream_id), None)
        if blank_space:
            blank_space.key = event.space
            state.spaces[event.space] = blank_space
            return blank_space
        return state.add_space(event.space, event.profile, event.offers[0].method)

    def _park_or_refuse(self, space: SpaceState, request: ParkedRequest) -> None:
        """Park a request, and start a keyring look-up if no other request is parked; or refuse it.

        `Verification` releases parked requests after each event.
        """
        state = self._state
        if space.phase is SpacePhase.SNOOZED:
            return state.refuse(request.request_id, RefusalReason.DECLINED)
        if len(space.parked) >= state.limits.parked_max and space.phase is not SpacePhase.TRUSTED:
            return state.refuse(request.request_id, RefusalReason.CROWDED)
        if request.is_own and space.phase not in _WITH_LOGIN:
            return state.refuse(request.request_id, RefusalReason.WITHDRAWN)
        if space.prompt.reason is PromptReason.ASKED_FOR:
            space.prompt = replace(space.prompt, reason=PromptReason.NEEDED)
        is_first = not space.parked
        state.park(space, request)
        if space.phase is SpacePhase.NO_LOGIN:
            return self._lookup.start(space)
        if space.phase is SpacePhase.PROMPTING and self._matches_again(space, request):
            return self._resume_after_match(space)
        if space.phase is SpacePhase.PROMPTING and is_first and space.prompt.open is None:
            return self._lookup.start(space)
        return None

    def _matches_again(self, space: SpaceState, request: ParkedRequest) -> bool:
        """Return whether a changed upstream matches its fingerprint again."""
        if space.prompt.reason not in _WEAKER_SCHEME or not space.current.was_accepted:
            return False
        offer = pick(space, request.offers, self._state.now)
        return offer is not None and objection(self._state, space, offer, request.offers) is None

    def _resume_after_match(self, space: SpaceState) -> None:
        """Use the login again now that the upstream matches its fingerprint.

        Parked requests are refused if their own 407 does not match the fingerprint.
        """
        for request in list(space.parked.values()):
            if not self._matches_again(space, request):
                self._state.refuse(request.request_id, RefusalReason.WEAKER)
        space.move_to(SpacePhase.UNVERIFIED)
