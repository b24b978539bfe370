"""``trayproxy devices`` and ``trayproxy containers``: clients that are no programs of this computer
(ux §5.3, §7.1; security.md T3).
"""

import getpass
import sys
from collections.abc import Sequence

from trayproxy.auth.login import Login
from trayproxy.cli.further_listeners import listener_lines, load_settings, running_status
from trayproxy.cli.output import CommandError, json_line, print_line, print_message
from trayproxy.cli.password_input import read_password_line
from trayproxy.cli.settings import open_settings
from trayproxy.cli.verb_parser import Arguments, VerbParser
from trayproxy.control.messages import ChangeListeners, ListenerKind, Status
from trayproxy.control.texts import DEVICES_RISK_TEXT
from trayproxy.desktop.hardening import harden
from trayproxy.domain.problem import ExitCode
from trayproxy.paths import Paths
from trayproxy.profiles.profile import ProfileError

JSON_SCHEMA = 1
"""The version of the ``--json`` output; raised when a member is removed or changes its meaning."""


def declare_devices(parser: VerbParser) -> None:
    """Declare ``trayproxy devices`` and its verbs."""
    parser.set_defaults(verb=_list, json=False)
    parser.add_verb("list", "list the allowed devices", "trayproxy devices list", _declare_list)
    parser.add_verb(
        "allow",
        "allow devices to connect, by their addresses",
        "trayproxy devices allow 192.168.1.20 10.8.0.0/24",
        _declare_allow,
    )
    parser.add_verb(
        "remove", "allow devices no longer", "trayproxy devices remove 10.8.0.0/24", _declare_remove
    )
    parser.add_verb("off", "allow no other device", "trayproxy devices off", _declare_off)
    parser.add_verb(
        "password",
        "require a password of other devices",
        "trayproxy devices password",
        _declare_password,
    )


def declare_containers(parser: VerbParser) -> None:
    """Declare ``trayproxy containers`` and its verbs."""
    parser.set_defaults(verb=_containers, allow=None)
    for name, allow, summary in (
        ("on", True, "let containers and WSL on this computer connect"),
        ("off", False, "let containers and WSL connect no longer"),
        ("status", None, "show the addresses for containers and WSL"),
    ):

        def declare(parser: VerbParser, allow: bool | None = allow) -> None:
            parser.set_defaults(verb=_containers, allow=allow)

        parser.add_verb(name, summary, f"trayproxy containers {name}", declare)


def _declare_list(parser: VerbParser) -> None:
    parser.set_defaults(verb=_list)
    parser.add_argument("--json", action="store_true", help='for programs; "schema" is 1')


def _declare_allow(parser: VerbParser) -> None:
    parser.set_defaults(verb=_allow)
    _add_addresses(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")


def _declare_remove(parser: VerbParser) -> None:
    parser.set_defaults(verb=_remove)
    _add_addresses(parser)


def _add_addresses(parser: VerbParser) -> None:
    parser.add_argument(
        "addresses", metavar="ADDRESS", nargs="+", help="an address or a network of devices"
    )


def _declare_off(parser: VerbParser) -> None:
    parser.set_defaults(verb=_turn_off)


def _declare_password(parser: VerbParser) -> None:
    parser.set_defaults(verb=_password)
    group = parser.add_mutually_exclusive_group()
    group.add_argument(
        "--stdin", action="store_true", help="read the password from standard input, one line"
    )
    group.add_argument(
        "--off", action="store_true", help="require no password, and delete the saved one"
    )


def _list(paths: Paths, arguments: Arguments) -> None:
    listen = load_settings(paths).listen
    status = running_status(paths)
    lines = _listener_lines(status, ListenerKind.DEVICES)
    if arguments.json:
        members = {"devices": listen.devices, "password": listen.devices_password}
        print_line(json_line({"schema": JSON_SCHEMA, **members, "listeners": lines}))
        return
    if not listen.devices:
        print_line("No other device may connect.")
        return
    for device in listen.devices:
        print_line(device)
    print_line("A password is required." if listen.devices_password else "No password is required.")
    for line in lines:
        print_line(line)


def _listener_lines(status: Status | None, kind: ListenerKind) -> list[str]:
    listeners = status.listeners if status is not None else ()
    return listener_lines(one for one in listeners if one.kind is kind)


def _allow(paths: Paths, arguments: Arguments) -> None:
    devices = load_settings(paths).listen.devices
    added = [one for one in _checked(arguments.addresses) if one not in devices]
    if not added:
        print_line("These devices may connect already.")
        return
    text = DEVICES_RISK_TEXT.format(addresses=", ".join(added))
    if arguments.yes:
        print_message(text)
    else:
        _confirm(text)
    _save_devices(paths, (*devices, *added))
    print_line(f"Allowed: {', '.join(added)}")
    lines = _listener_lines(running_status(paths), ListenerKind.DEVICES)
    for line in lines:
        print_line(line)


def _confirm(text: str) -> None:
    if not sys.stdin.isatty():
        raise CommandError(f"{text}. To allow them without a question: --yes.", ExitCode.USAGE)
    print_message(text)
    print_message("Allow these? Write yes:")
    if sys.stdin.readline().strip().casefold() not in ("y", "yes"):
        raise CommandError("Nothing was changed: TrayProxy stays private.")


def _remove(paths: Paths, arguments: Arguments) -> None:
    devices = load_settings(paths).listen.devices
    removed = _checked(arguments.addresses)
    missing = [one for one in removed if one not in devices]
    if missing:
        known = ", ".join(devices) or "none"
        raise CommandError(f"{missing[0]} is not in the list. The list is: {known}.")
    _save_devices(paths, tuple(one for one in devices if one not in removed))
    print_line(f"No longer allowed: {', '.join(removed)}")


def _turn_off(paths: Paths, arguments: Arguments) -> None:
    _save_devices(paths, ())
    print_line("No other device may connect.")


def _checked(addresses: Sequence[str]) -> tuple[str, ...]:
    # Here, as in `_save_devices`, because most verbs of this module do not need it.
    from trayproxy.profiles.listener_checks import check_devices

    try:
        return check_devices(addresses)
    except ProfileError as error:
        raise CommandError(str(error), ExitCode.USAGE) from None


def _save_devices(paths: Paths, devices: tuple[str, ...]) -> None:
    from trayproxy.profiles.listener_checks import with_devices

    try:
        with_devices(load_settings(paths), devices)
    except ProfileError as error:
        raise CommandError(str(error)) from None
    with open_settings(paths) as settings:
        settings.change_listeners(ChangeListeners(devices=devices))


def _password(paths: Paths, arguments: Arguments) -> None:
    harden()
    if arguments.off:
        with open_settings(paths) as settings:
            settings.change_listeners(ChangeListeners(devices_password=False))
            settings.save_devices_password(None)
        print_line("Other devices need no password.")
        return
    if not load_settings(paths).listen.devices:
        raise CommandError("No other device may connect. Allow one first: trayproxy devices allow.")
    login = Login("", _read_password(is_from_stdin=arguments.stdin))
    # Not open while the user types: then no lock must be held.
    with open_settings(paths) as settings:
        settings.save_devices_password(login)
        settings.change_listeners(ChangeListeners(devices_password=True))
    print_line("Other devices must send this password, with any user name.")


def _read_password(*, is_from_stdin: bool) -> str:
    if is_from_stdin:
        password = read_password_line()
    elif not sys.stdin.isatty():
        raise CommandError("There is no terminal for a prompt. Use --stdin.", ExitCode.USAGE)
    else:
        print_message("Do not use a password of your company: devices send it unencrypted.")
        password = getpass.getpass("Password for other devices: ")
        if getpass.getpass("Repeat it: ") != password:
            raise CommandError("The two passwords differ. Nothing was changed.")
    if not password:
        raise CommandError("An empty password protects nothing. Nothing was changed.")
    return password


def _containers(paths: Paths, arguments: Arguments) -> None:
    if arguments.allow is not None:
        with open_settings(paths) as settings:
            settings.change_listeners(ChangeListeners(containers=arguments.allow))
    if not load_settings(paths).listen.containers:
        print_line("Off: containers and WSL cannot connect.")
        return
    print_line("On: containers and WSL on this computer can use your company sign-in.")
    status = running_status(paths)
    lines = _listener_lines(status, ListenerKind.CONTAINERS)
    for line in lines:
        print_line(line)
    if status is not None and not lines:
        print_message(
            "There is no virtual network of containers or WSL now; TrayProxy waits for one."
        )
