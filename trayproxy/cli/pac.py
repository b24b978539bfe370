"""``trayproxy pac``: ask the PAC script of a profile for a web address."""

import msgspec

from trayproxy.cli.arguments import web_address
from trayproxy.cli.output import CommandError, json_line, print_line, printable_line, problem_line
from trayproxy.cli.service_client import request, require_service
from trayproxy.cli.settings import profile_id_of
from trayproxy.cli.verb_parser import Arguments, VerbParser
from trayproxy.control.messages import EvaluatePac, PacAnswer
from trayproxy.domain.problem import ExitCode, exit_code_for
from trayproxy.paths import Paths

JSON_SCHEMA = 1
"""The version of the ``--json`` output; raised when a member is removed or changes its meaning."""
TIMEOUT_S = 40.0
"""The timeout for the answer: the script may have to be loaded, and names to be resolved."""


def declare_pac(parser: VerbParser) -> None:
    """Declare ``trayproxy pac`` and its verb."""
    parser.add_verb(
        "eval",
        "print the proxies that a PAC script names for a web address, and why",
        "trayproxy pac eval https://www.example/",
        _declare_eval,
    )
    parser.set_defaults(verb=_missing_verb)


def _missing_verb(paths: Paths, arguments: Arguments) -> None:
    arguments.parser.error("write the verb: trayproxy pac eval URL")


def _declare_eval(parser: VerbParser) -> None:
    parser.set_defaults(verb=_eval)
    parser.add_argument("url", metavar="URL", type=web_address, help="a web address, or HOST:PORT")
    parser.add_argument("--profile", metavar="NAME", help="default: the profile in use")
    parser.add_argument("--reload", action="store_true", help="load the script again first")
    parser.add_argument("--json", action="store_true", help='for programs; "schema" is 1')


def _eval(paths: Paths, arguments: Arguments) -> ExitCode:
    with require_service(paths) as client:
        profile_id = profile_id_of(client, arguments.profile)
        message = EvaluatePac(arguments.url, profile_id, arguments.reload)
        reply = request(client, message, TIMEOUT_S)
    if not isinstance(reply, PacAnswer):
        raise CommandError("TrayProxy sent an unexpected reply.")
    print_line(as_json(reply) if arguments.json else as_text(reply))
    return ExitCode.DONE if reply.problem is None else exit_code_for(reply.problem)


def as_json(answer: PacAnswer) -> str:
    """Return the answer as one line of JSON; ``took`` is in milliseconds."""
    return json_line({"schema": JSON_SCHEMA, **msgspec.to_builtins(answer)})


def as_text(answer: PacAnswer) -> str:
    """Return the answer as text, a line for each fact."""
    stored = " (the last good copy)" if answer.is_stored else ""
    rows = [("Script", printable_line(answer.source) + stored)]
    if answer.url:
        rows.append(("Address", printable_line(answer.url)))
        rows += [("Resolved", _name(name.name, name.addresses)) for name in answer.names]
        rows += [("Alert", printable_line(text)) for text in answer.alerts]
        rows.append(("Answer", printable_line(answer.text)))
    rows += [("Skipped", printable_line(text)) for text in answer.skipped]
    if answer.problem is not None:
        rows.append(("Problem", problem_line(answer.problem)))
    else:
        rows.append(("Proxies", ", otherwise ".join(map(printable_line, answer.proxies))))
        rows.append(("Used now", printable_line(answer.used)))
    if answer.url:
        rows.append(("Took", f"{answer.took:.0f} ms"))
    return "\n".join(f"{title + ':':<10}{text}" for title, text in rows)


def _name(name: str, addresses: tuple[str, ...]) -> str:
    found = ", ".join(map(printable_line, addresses)) or "not found"
    return f"{printable_line(name)}: {found}"
