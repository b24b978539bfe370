"""``trayproxy route``: tell which rule decides about an address, and the proxy it leads to."""

import msgspec

from trayproxy.cli.arguments import web_address
from trayproxy.cli.output import CommandError, json_line, print_line, printable_line
from trayproxy.cli.service_client import request, require_service
from trayproxy.cli.settings import profile_id_of
from trayproxy.cli.verb_parser import Arguments, VerbParser
from trayproxy.control.messages import FindRoute, RouteFound, RouteReason
from trayproxy.paths import Paths

JSON_SCHEMA = 1
"""The version of the ``--json`` output; raised when a member is removed or changes its meaning."""

_REASONS = {
    RouteReason.DIRECTLY: "you chose to connect directly",
    RouteReason.BYPASS: "“{rule}” in the list “Not used for” of “{profile}”",
    RouteReason.RULE: "the rule “{rule}” of “{profile}”",
    RouteReason.SCRIPT: "no rule matches: the automatic configuration of “{profile}”",
    RouteReason.PROFILE: "no rule matches: the proxy of “{profile}”",
}


def declare_route(parser: VerbParser) -> None:
    """Declare ``trayproxy route``."""
    parser.set_defaults(verb=_route)
    parser.add_argument("url", metavar="URL", type=web_address, help="a web address, or HOST:PORT")
    parser.add_argument("--profile", metavar="NAME", help="default: the profile in use")
    parser.add_argument(
        "--program",
        metavar="NAME",
        default="",
        help="the program that would connect, for rules with “program:”",
    )
    parser.add_argument("--json", action="store_true", help='for programs; "schema" is 1')


def _route(paths: Paths, arguments: Arguments) -> None:
    with require_service(paths) as client:
        profile_id = profile_id_of(client, arguments.profile)
        reply = request(client, FindRoute(arguments.url, profile_id, arguments.program))
    if not isinstance(reply, RouteFound):
        raise CommandError("TrayProxy sent an unexpected reply.")
    print_line(as_json(reply) if arguments.json else as_text(reply))


def as_json(found: RouteFound) -> str:
    """Return the route as one line of JSON."""
    return json_line({"schema": JSON_SCHEMA, **msgspec.to_builtins(found)})


def as_text(found: RouteFound) -> str:
    """Return the route as text: the proxies, and the reason."""
    proxies = ", otherwise ".join(map(printable_line, found.proxies)) or "blocked"
    rule, profile = printable_line(found.rule), printable_line(found.profile)
    reason = _REASONS[found.reason].format(rule=rule, profile=profile)
    return f"{printable_line(found.target)}: {proxies}\nDecided by: {reason}"
