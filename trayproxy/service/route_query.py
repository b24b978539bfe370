"""Finds the route that a request would take, without sending it, and the answers of PAC scripts."""

import re

from trayproxy.control.messages import (
    EvaluatePac,
    Failed,
    FindRoute,
    PacAnswer,
    PacName,
    Reply,
    RouteFound,
    RouteReason,
)
from trayproxy.domain.problem import ExitCode, Problem
from trayproxy.engine.error_pages import ErrorPage
from trayproxy.engine.upstream.failover import Failover
from trayproxy.engine.upstream.route import Route
from trayproxy.http.errors import MessageError
from trayproxy.http.target import Form, Target, parse_target
from trayproxy.profiles.profile import Profile
from trayproxy.service.pac_routes import Decision, PacRoutes, url_of
from trayproxy.service.router import Router

NO_PROFILE = Problem(
    "TP-806", "No profile is in use", "Choose a profile first: trayproxy profiles use."
)
NOT_AUTOMATIC = Problem(
    "TP-806",
    "This profile has no automatic configuration",
    "Choose one with a PAC address: trayproxy profiles list.",
)

_PORT = re.compile(rb":[0-9]*$")


async def find_route(router: Router, request: FindRoute) -> Reply:
    """Return the route of a request on the connections of a router, or why there is none."""
    try:
        target = target_of(request.url)
    except MessageError as error:
        return _no_address(request.url, error)
    profile, authority = router.profile, target.authority
    assert authority is not None
    if profile is None and not router.is_direct:
        return Failed(NO_PROFILE, ExitCode.FAILED)
    if profile is None:
        return RouteFound(str(authority), RouteReason.DIRECTLY, ("direct",))
    rule = router.deciding_rule(authority, request.program)
    if rule is not None:
        choice = router.decide(authority, request.program)
        is_bypass = rule.conditions in profile.bypass and str(rule) not in profile.rules
        reason = RouteReason.BYPASS if is_bypass else RouteReason.RULE
        text = rule.conditions if is_bypass else str(rule)
        return RouteFound(str(authority), reason, proxies_of(choice), text, profile.name)
    if router.script is not None:
        choice = await router.script.choose(target)
        if isinstance(choice, ErrorPage):
            return Failed(Problem(choice.code, choice.title, choice.body), ExitCode.UPSTREAM)
        reason = RouteReason.SCRIPT
    else:
        choice, reason = Route.via_profile(profile), RouteReason.PROFILE
    return RouteFound(str(authority), reason, proxies_of(choice), profile=profile.name)


def proxies_of(choice: Route | ErrorPage | None) -> tuple[str, ...]:
    """Return the proxies of a route in the order of preference, or ``direct``; none for an error
    page."""
    if not isinstance(choice, Route):
        return ()
    return tuple(str(route.upstream or "direct") for route in (choice, *choice.fallbacks))


async def evaluate_pac(
    routes: PacRoutes, profile: Profile, failover: Failover, request: EvaluatePac
) -> Reply:
    """Return the answer of a profile's PAC script for a URL, or why there is none."""
    try:
        target = target_of(request.url)
    except MessageError as error:
        return _no_address(request.url, error)
    if request.reload:
        await routes.loader.reload()
    decision = await routes.decide(url_of(target))
    state = routes.loader.state
    origin = state.origin or profile.pac
    used = ""
    if decision.hops:
        choice = await routes.choose(target)
        if isinstance(choice, Route):
            used = str((failover.usable(choice) or choice).upstream or "direct")
    return _answer(decision, origin.title if origin is not None else "", used, state.is_stored)


def _answer(decision: Decision, source: str, used: str, is_stored: bool) -> PacAnswer:
    hops = tuple(str(hop) if hop in decision.upstreams else "direct" for hop in decision.hops)
    found = PacAnswer(source, hops, used, decision.problem, is_stored)
    evaluation = decision.evaluation
    if evaluation is None:
        return found
    answer = evaluation.answer
    skipped = () if answer is None else answer.skipped
    return PacAnswer(
        source,
        hops,
        used,
        decision.problem,
        is_stored,
        url=evaluation.url,
        host=evaluation.host,
        text="" if answer is None else answer.text,
        skipped=tuple(f"{entry.text}: {entry.reason}" for entry in skipped),
        took=evaluation.duration_s * 1000,
        names=tuple(PacName(name.name, name.addresses) for name in evaluation.names),
        alerts=evaluation.alerts,
    )


def target_of(address: str) -> Target:
    """Return the target of a URL, or of a host with a port, as in a request to a proxy.

    An https URL becomes the target of a CONNECT, and so does a host without a port, as in the
    address field of a browser. Raise `MessageError` if the address is none of these.
    """
    raw = address.strip().encode(errors="replace").partition(b"#")[0]
    is_url = b"://" in raw
    try:
        # An IPv6 address has colons, but no port without brackets.
        has_port = is_url or _PORT.search(raw) is not None
        target = parse_target(b"GET" if is_url else b"CONNECT", raw if has_port else raw + b":443")
    except MessageError:
        raise MessageError(400, "write a web address, or HOST:PORT") from None
    authority = target.authority
    if authority is None or not authority.port:
        raise MessageError(400, "it names no host and port")
    if target.form is Form.ABSOLUTE and target.scheme in (b"https", b"wss"):
        return parse_target(b"CONNECT", str(authority).encode("ascii"))
    return target


def _no_address(url: str, error: MessageError) -> Failed:
    return Failed(Problem("TP-807", "This is no address", f"{url}: {error}."), ExitCode.FAILED)
