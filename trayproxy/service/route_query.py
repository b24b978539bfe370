"""Answers the question which route a request would take, without sending it."""

from trayproxy.control.messages import Failed, FindRoute, Reply, RouteFound, RouteReason
from trayproxy.domain.problem import ExitCode, Problem
from trayproxy.engine.upstream.route import Route
from trayproxy.http.errors import MessageError
from trayproxy.http.target import Authority, parse_target
from trayproxy.service.router import Router

NO_PROFILE = Problem(
    "TP-806", "No profile is in use", "Choose a profile first: trayproxy profiles use."
)


def find_route(router: Router, request: FindRoute) -> Reply:
    """Return the route of a request on the connections of a router, or why there is none."""
    try:
        authority = authority_of(request.url)
    except MessageError as error:
        body = f"{request.url}: {error}."
        return Failed(Problem("TP-807", "This is no address", body), ExitCode.FAILED)
    choice = router.decide(authority, request.program)
    if router.profile is None and not router.is_direct:
        return Failed(NO_PROFILE, ExitCode.FAILED)
    proxies: tuple[str, ...] = ()
    if isinstance(choice, Route):
        routes = (choice, *choice.fallbacks)
        proxies = tuple(str(route.upstream or "direct") for route in routes)
    found = RouteFound(str(authority), RouteReason.DIRECTLY, proxies)
    if router.profile is None:
        return found
    rule = router.deciding_rule(authority, request.program)
    name = router.profile.name
    if rule is None:
        return RouteFound(found.target, RouteReason.PROFILE, proxies, profile=name)
    is_bypass = rule.conditions in router.profile.bypass and rule.hosts is not None
    if is_bypass and str(rule) not in router.profile.rules:
        return RouteFound(found.target, RouteReason.BYPASS, proxies, rule.conditions, name)
    return RouteFound(found.target, RouteReason.RULE, proxies, str(rule), name)


def authority_of(address: str) -> Authority:
    """Return the host and port of a URL, or of a host with a port; raise `MessageError` if the
    address is neither."""
    raw = address.strip().encode()
    target = parse_target(b"GET" if b"://" in raw else b"CONNECT", raw.partition(b"#")[0])
    if target.authority is None or not target.authority.port:
        raise MessageError(400, "it names no host and port")
    return target.authority
