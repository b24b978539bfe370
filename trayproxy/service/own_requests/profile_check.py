"""Tests a profile step by step: find, connect, encryption, challenge, sign-in, fetch, and who has
issued the certificates of https sites (ux §3.3).

The test sends the same requests as the engine would for a program, but stops at the first failed
step and reports it. The sign-in goes through the desk like any request, so it costs at most a
single log-on and obeys all limits. The profile's fallbacks are only tested for reachability.
"""

import asyncio
import dataclasses
import socket
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from trayproxy.control.messages import Step, StepState
from trayproxy.desk.credentials import Credentials
from trayproxy.domain.problem import Problem
from trayproxy.engine.error_pages import (
    ErrorPage,
    RequestRefusedError,
    no_secure_connection,
    not_found,
)
from trayproxy.engine.net.handshake_error import HandshakeError
from trayproxy.engine.net.resolver import literal_address
from trayproxy.engine.net.socket_stream import SocketStream
from trayproxy.engine.proxy_auth.auth_port import AuthChallenge
from trayproxy.engine.proxy_auth.own_auth_port import OwnRequestTools
from trayproxy.engine.proxy_auth.own_request import NotSignedInError, OwnRequest
from trayproxy.engine.upstream.connector import TargetRefusedError
from trayproxy.engine.upstream.route import Route
from trayproxy.http.challenges import Challenge
from trayproxy.http.request import Request, parse_request
from trayproxy.http.response import Response
from trayproxy.profiles.profile import Profile, ProxyScheme, SignIn
from trayproxy.service.own_requests.certificate_finding import (
    RecordFinding,
    not_known,
    with_finding,
)

if TYPE_CHECKING:
    from trayproxy.service.own_requests.tls_inspection import TrustedAuthorities

FALLBACK = "fallback"
DEFAULT_PAGE = "http://example.com/"
DEFAULT_SECURE_PAGE = "https://example.com/"
"""The site that stands for all https sites: its certificate is public (RFC 6761, section 6.5)."""

Action = Callable[[Step], Coroutine[Any, Any, Step]]
"""Carries out a step of the test."""

SIGN_IN_NOT_SET = Problem(
    "TP-303",
    "The proxy wants a sign-in",
    "The profile says that it needs none. Change its sign-in.",
)
REFUSED_AGAIN = Problem(
    "TP-306",
    "The proxy does not allow this request",
    "It has accepted the sign-in, but refuses this page. Try another page.",
)
NOT_PROVED = Problem(
    "TP-307",
    "The password could not be checked yet",
    "The proxy's answer for this page does not show whether it accepted the password. Try another "
    "page.",
)
SNOOZED = Problem(
    "TP-301",
    "TrayProxy does not ask for a sign-in now",
    "A question was cancelled or postponed a short while ago. Sign in, then test again.",
)
_FORBIDDEN = (403, 451)
HINTS = {"TP-202": " Check the port in the profile."}
"""Advice for problems whose text contains none."""


def request_for(url: str) -> Request:
    """Return the request to an upstream for a URL: a GET, or a CONNECT for an https URL.

    Raises:
        MessageError: The URL is not a plain http or https URL.
    """
    get = parse_request(head_for(url))
    if get.target.scheme != b"https":
        return get
    authority = str(get.target.authority)
    head = f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: TrayProxy\r\n\r\n"
    return parse_request(head.encode("ascii", "replace"))


def head_for(url: str, *, is_absolute: bool = True) -> bytes:
    """Return the head of a GET request for a URL, as sent to a proxy, or to the host itself."""
    host, slash, path = url.partition("://")[2].partition("/")
    target = url if is_absolute else slash + path or "/"
    head = f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: TrayProxy\r\nAccept: */*\r\n\r\n"
    return head.encode("ascii", "replace")


class StepFailedError(Exception):
    """The current step failed with a problem; the test ends."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.title)
        self.problem = problem


class TunnelRefusedError(Exception):
    """The upstream does not connect to an https site.

    Attributes:
        response: The response of the upstream; None if it demands a sign-in again.
    """

    def __init__(self, response: Response | None) -> None:
        super().__init__(_status_text(response) if response else "the proxy wants a sign-in")
        self.response = response


class ProfileCheck:
    """One test of a profile.

    Attributes:
        sign_in_not_set: The problem of a proxy that demands a sign-in although the profile has
            none.
    """

    def __init__(
        self,
        profile: Profile,
        url: str,
        tools: OwnRequestTools,
        record_finding: RecordFinding,
        authorities: "TrustedAuthorities | None" = None,
    ) -> None:
        """Create a test, which fetches a URL through the profile; see `request_for` for errors.

        The certificates of https sites are tested with the host of an https URL, or of the default
        page. With other http URLs they are not tested, so that no other host is contacted.

        Args:
            record_finding: Records the certificate that programs see for an https site.
            authorities: The trusted authorities; None for those of the system.
        """
        assert profile.upstream is not None, "an automatic profile is tested with its upstreams"
        self.sign_in_not_set = SIGN_IN_NOT_SET
        self._profile = profile
        self._upstream = profile.upstream
        self._tools = tools
        self._url = url
        self._record_finding = record_finding
        self._authorities = authorities
        self._own = OwnRequest(profile, request_for(url), tools)
        self._is_secure = request_for(url).method == b"CONNECT"
        self._route = self._own.route
        self._done: list[Step] = []
        self._credentials: Credentials | None = None
        self._last_challenge: AuthChallenge | None = None

    async def run(self) -> tuple[Step, ...]:
        """Run the test; return all steps, including those that were not tried."""
        actions: dict[str, Action] = {
            "find": self._find,
            "connect": self._connect,
            "encryption": self._encrypt,
            "challenge": self._challenge,
            "sign-in": self._sign_in,
            **self._last_actions(),
        }
        try:
            for name, action in actions.items():
                step = await self._run_step(name, action)
                self._done.append(step)
                if step.state is StepState.FAILED:
                    break
        finally:
            self._own.close()
        missing = (Step(name, StepState.NOT_TRIED) for name in [*actions][len(self._done) :])
        fallbacks = [
            await self._run_step(FALLBACK, partial(self._reach_fallback, route=route))
            for route in self._route.fallbacks
        ]
        return (*self._done, *missing, *fallbacks)

    def _last_actions(self) -> dict[str, Action]:
        if self._is_secure:
            return {"tls": partial(self._inspect, own=self._own), "fetch": self._fetch_securely}
        if self._url != DEFAULT_PAGE:
            return {"fetch": self._fetch}
        own = OwnRequest(self._profile, request_for(DEFAULT_SECURE_PAGE), self._tools)
        return {"fetch": self._fetch, "tls": partial(self._inspect, own=own)}

    async def _run_step(self, name: str, action: Action) -> Step:
        start = self._tools.clock()
        try:
            step = await action(Step(name, StepState.OK))
        except StepFailedError as failed:
            step = Step(name, StepState.FAILED, problem=failed.problem)
        except NotSignedInError as failed:
            problem = SNOOZED if failed.refusal.is_declined else failed.refusal.problem
            step = Step(name, StepState.FAILED, problem=problem)
        except RequestRefusedError as refused:
            step = Step(name, StepState.FAILED, problem=_problem(refused.page))
        took = (self._tools.clock() - start) * 1000
        return replace(step, took=None if step.state is StepState.NOT_NEEDED else took)

    async def _find(self, step: Step) -> Step:
        upstream = self._upstream
        if literal_address(upstream.host, upstream.port):
            return replace(step, detail=upstream.host)
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._tools.limits.resolve_s):
                found = await loop.getaddrinfo(
                    upstream.host, upstream.port, type=socket.SOCK_STREAM
                )
        except (OSError, UnicodeError):
            problem = _problem(not_found(upstream.host, through_upstream=True))
            raise StepFailedError(problem) from None
        return replace(step, detail=str(found[0][4][0]))

    async def _connect(self, step: Step) -> Step:
        await self._try_connection(self._route)
        return replace(step, detail=f"port {self._upstream.port}")

    async def _try_connection(self, route: Route) -> None:
        connection = await self._tools.connector.connect(self._own.connect_request(route, None))
        connection.close()

    async def _encrypt(self, step: Step) -> Step:
        scheme = self._upstream.scheme
        if scheme is not ProxyScheme.HTTPS:
            return replace(step, state=StepState.NOT_NEEDED, detail=f"none ({scheme} proxy)")
        return replace(step, detail=await self._encryption(self._route))

    async def _encryption(self, route: Route) -> str:
        from trayproxy.engine.net.tls import TlsStream  # Not at the top: it loads OpenSSL.

        stream = await self._tools.connector.open(self._own.connect_request(route, None))
        stream.close()
        assert isinstance(stream, TlsStream)
        return f"{stream.version}, certificate by {stream.issuer or 'an unnamed authority'}"

    async def _reach_fallback(self, step: Step, route: Route) -> Step:
        upstream = route.upstream
        assert upstream is not None
        if upstream.scheme is ProxyScheme.HTTPS:
            return replace(step, detail=f"{upstream}: {await self._encryption(route)}")
        await self._try_connection(route)
        return replace(step, detail=str(upstream))

    async def _challenge(self, step: Step) -> Step:
        try:
            outcome = await self._own.send(None)
        except TargetRefusedError:
            pass  # The proxy did not ask for a login before it connected to the target.
        else:
            if outcome.challenge is not None:
                self._last_challenge = outcome.challenge
                return replace(step, detail=_challenge_detail(outcome.challenge.challenges))
        return replace(step, state=StepState.NOT_NEEDED, detail="the proxy does not ask")

    async def _sign_in(self, step: Step) -> Step:
        if self._last_challenge is None:
            return replace(step, state=StepState.NOT_NEEDED)
        if self._profile.sign_in is SignIn.NONE:
            raise StepFailedError(self.sign_in_not_set)
        assert self._route.upstream_id is not None
        known = self._tools.broker.known(self._route.upstream_id)
        self._credentials = await self._own.sign_in(self._last_challenge, known)
        if self._own.is_unproved:
            raise StepFailedError(NOT_PROVED)
        return replace(step, detail=_sign_in_detail(self._credentials) if self._credentials else "")

    async def _fetch(self, step: Step) -> Step:
        outcome = await self._own.send(self._credentials)
        if outcome.challenge is not None:
            raise StepFailedError(REFUSED_AGAIN)
        assert outcome.response is not None  # Only a tunnel has no response.
        return self._fetched(step, outcome.response)

    def _fetched(self, step: Step, response: Response) -> Step:
        step = replace(step, detail=_status_text(response))
        if response.status < 400:
            return step
        return replace(step, state=StepState.FAILED, problem=self._page_problem(response))

    async def _fetch_securely(self, step: Step) -> Step:
        from trayproxy.service.own_requests.tls_inspection import fetch_page

        try:
            tunnel = await self._open_tunnel(self._own)
        except TunnelRefusedError as refused:
            if refused.response is None:
                raise StepFailedError(REFUSED_AGAIN) from None
            return self._fetched(step, refused.response)
        head = head_for(self._url, is_absolute=False)
        try:
            response = await fetch_page(tunnel, self._own.host, head, self._tools.limits)
        except HandshakeError as error:
            page = no_secure_connection(self._own.host, error.reason)
            raise RequestRefusedError(page) from None
        return self._fetched(step, response)

    async def _inspect(self, step: Step, own: OwnRequest) -> Step:
        """Find out who has issued the certificate that programs see for an https site."""
        # Not at the top: it loads OpenSSL.
        from trayproxy.service.own_requests.tls_inspection import TrustedAuthorities, find_issuer

        authorities = self._authorities or TrustedAuthorities()
        limit_s = self._tools.limits.handshake_s
        try:
            finding = await find_issuer(
                partial(self._open_tunnel, own), own.host, authorities, limit_s
            )
        except (TunnelRefusedError, HandshakeError) as error:
            return not_known(step, str(error))
        except RequestRefusedError as refused:
            return not_known(step, refused.page.title)
        finally:
            own.close()
        finding = dataclasses.replace(finding, is_of_public_site=own is not self._own)
        await self._record_finding(self._upstream, finding)
        return with_finding(step, finding, own.host)

    async def _open_tunnel(self, own: OwnRequest) -> SocketStream:
        outcome, tunnel = await own.open_tunnel(self._credentials)
        if tunnel is None:
            raise TunnelRefusedError(outcome.response if outcome.challenge is None else None)
        return tunnel

    def _page_problem(self, response: Response) -> Problem:
        """Return the problem of a page with an error status (RFC 9110, section 15.5)."""
        works = (
            "The proxy works and the sign-in is right" if self._credentials else "The proxy works"
        )
        title = f"The page answered {response.status}"
        if response.status in _FORBIDDEN:
            body = f"{works}, but the proxy or the site refuses this page. Try another page."
            return Problem("TP-306", title, body)
        problem_id = "TP-203" if response.status >= 500 else "TP-209"
        return Problem(problem_id, title, f"{works}, but the page did not load. Try another page.")


def _status_text(response: Response) -> str:
    return f"{response.status} {response.reason.decode('latin-1')}".strip()


def _sign_in_detail(credentials: Credentials) -> str:
    """Return the user name and the scheme. The own sign-in has no user name here."""
    who = f"as {credentials.login.user}" if credentials.login else "by your own sign-in"
    return f"{who} ({credentials.scheme.title})"


def _challenge_detail(challenges: tuple[Challenge, ...]) -> str:
    names = [
        f"{challenge.scheme.capitalize()}" + (f", “{challenge.realm}”" if challenge.realm else "")
        for challenge in challenges
    ]
    return "; ".join(names)


def _problem(page: ErrorPage) -> Problem:
    return Problem(page.code, page.title, page.body + HINTS.get(page.code, ""))
