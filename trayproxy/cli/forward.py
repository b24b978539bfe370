"""``trayproxy forward``: fixed forwards (ux §7.1)."""

from typing import Any

from trayproxy.cli.further_listeners import load_settings, running_status
from trayproxy.cli.output import CommandError, json_line, print_line, print_message, problem_line
from trayproxy.cli.settings import open_settings
from trayproxy.cli.verb_parser import Arguments, VerbParser
from trayproxy.control.messages import ChangeListeners, FurtherListener, ListenerKind
from trayproxy.domain.problem import ExitCode
from trayproxy.paths import Paths
from trayproxy.profiles.config import Config, Forward
from trayproxy.profiles.profile import ProfileError

JSON_SCHEMA = 1
"""The version of the ``--json`` output; raised when a member is removed or changes its meaning."""


def declare_forward(parser: VerbParser) -> None:
    """Declare ``trayproxy forward`` and its verbs."""
    parser.set_defaults(verb=_list, json=False)
    parser.add_verb("list", "list the forwards", "trayproxy forward list", _declare_list)
    parser.add_verb(
        "add",
        "add a forward, or change the target of one",
        "trayproxy forward add 127.0.0.1:2222 git.example:22",
        _declare_add,
    )
    parser.add_verb("remove", "remove a forward", "trayproxy forward remove 2222", _declare_remove)


def _declare_list(parser: VerbParser) -> None:
    parser.set_defaults(verb=_list)
    parser.add_argument("--json", action="store_true", help='for programs; "schema" is 1')


def _declare_add(parser: VerbParser) -> None:
    parser.set_defaults(verb=_add)
    parser.add_argument("listen", metavar="LISTEN", help="the port, or the address and port")
    parser.add_argument("to", metavar="TARGET", help="the host and port to connect to")


def _declare_remove(parser: VerbParser) -> None:
    parser.set_defaults(verb=_remove)
    parser.add_argument("listen", metavar="LISTEN", help="the port, or the address and port")


def _list(paths: Paths, arguments: Arguments) -> None:
    forwards = load_settings(paths).forwards
    status = running_status(paths)
    found = {
        one.address: one
        for one in (status.listeners if status is not None else ())
        if one.kind is ListenerKind.FORWARD
    }
    if arguments.json:
        members = [_members(forward, found.get(forward.address)) for forward in forwards]
        print_line(json_line({"schema": JSON_SCHEMA, "forwards": members}))
        return
    for forward in forwards:
        print_line(f"{forward.address} to {forward.target}")
        listener = found.get(forward.address)
        if listener is not None and listener.problem is not None:
            print_line(f"  {problem_line(listener.problem)}")
    if not forwards:
        print_line("There are no forwards. Add one: trayproxy forward add 2222 git.example:22")
    elif status is None:
        print_message("TrayProxy is not running: programs cannot connect now.")


def _members(forward: Forward, listener: FurtherListener | None) -> dict[str, Any]:
    problem = listener.problem if listener is not None else None
    return {
        "listen": forward.address,
        "to": forward.target,
        "open": listener is not None and problem is None,
        "problem": None if problem is None else problem_line(problem),
    }


def _add(paths: Paths, arguments: Arguments) -> None:
    config = load_settings(paths)
    added = _parsed(arguments, config, arguments.to)
    others = [one for one in config.forwards if one.address != added.address]
    _save(paths, config, (*others, added))
    print_line(f"{added.address} is a tunnel to {added.target}.")


def _remove(paths: Paths, arguments: Arguments) -> None:
    config = load_settings(paths)
    address = _parsed(arguments, config, "any:1").address
    kept = tuple(one for one in config.forwards if one.address != address)
    if len(kept) == len(config.forwards):
        known = ", ".join(one.address for one in config.forwards) or "none"
        raise CommandError(f"There is no forward at {address}. There are: {known}.")
    _save(paths, config, kept)
    print_line(f"{address} is no longer a tunnel.")


def _parsed(arguments: Arguments, config: Config, target: str) -> Forward:
    from trayproxy.profiles.listener_checks import parse_forward

    try:
        return parse_forward(arguments.listen, target, config.listen.devices)
    except ProfileError as error:
        raise CommandError(str(error), ExitCode.USAGE) from None


def _save(paths: Paths, config: Config, forwards: tuple[Forward, ...]) -> None:
    from trayproxy.profiles.listener_checks import with_forwards

    try:
        with_forwards(config, forwards)
    except ProfileError as error:
        raise CommandError(str(error)) from None
    with open_settings(paths) as settings:
        settings.change_listeners(ChangeListeners(forwards=forwards))
