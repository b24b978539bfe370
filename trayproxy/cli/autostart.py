"""``trayproxy autostart``: start TrayProxy when the user logs in (ux §2g, §7.1)."""

from dataclasses import asdict

from trayproxy.cli.output import CommandError, json_line, print_line, print_message, printable_line
from trayproxy.cli.verb_parser import Arguments, VerbParser
from trayproxy.desktop.autostart.base import Autostart, AutostartState, AutostartStatus
from trayproxy.desktop.autostart.factory import autostart, starts_at_log_in
from trayproxy.domain.problem import Problem
from trayproxy.paths import HOME_VARIABLE, Paths
from trayproxy.system_settings.entries import TargetError

JSON_SCHEMA = 1
"""The version of the ``--json`` output; raised when a member is removed or changes its meaning."""


def declare_autostart(parser: VerbParser) -> None:
    """Declare ``trayproxy autostart`` and its verbs."""
    parser.set_defaults(verb=_show, headless=False, json=False)
    for name, verb, summary in (
        ("on", _turn_on, "start TrayProxy when you log in, or correct the entry for it"),
        ("off", _turn_off, "do not start TrayProxy when you log in"),
        ("status", _show, "show whether TrayProxy starts when you log in"),
    ):

        def declare(parser: VerbParser, verb: object = verb) -> None:
            parser.set_defaults(verb=verb)
            parser.add_argument(
                "--headless",
                action="store_true",
                help="the service without a tray icon, as a unit of systemd",
            )
            parser.add_argument("--json", action="store_true", help='for programs; "schema" is 1')

        parser.add_verb(name, summary, f"trayproxy autostart {name}", declare)


def _turn_on(paths: Paths, arguments: Arguments) -> None:
    try:
        entry = _autostart(arguments)
        entry.turn_on()
        status = entry.status()
    except TargetError as error:
        raise CommandError.from_problem(_not_changed(error)) from None
    if status.state is AutostartState.DISABLED:
        raise CommandError.from_problem(
            Problem("TP-609", "Autostart is disabled in the system", status.reason)
        )
    if status.state is not AutostartState.ON:
        # Another program has changed the entry in the meantime.
        raise CommandError.from_problem(
            _not_changed(f"{status.place} is not as TrayProxy has written it")
        )
    _print(status, arguments)


def _turn_off(paths: Paths, arguments: Arguments) -> None:
    try:
        entry = _autostart(arguments)
        entry.turn_off()
        status = entry.status()
    except TargetError as error:
        raise CommandError.from_problem(_not_changed(error)) from None
    if not starts_at_log_in():
        _restore_log_in_settings(paths)
    _print(status, arguments)


def _restore_log_in_settings(paths: Paths) -> None:
    """Restore the settings that programs read at log-in: TrayProxy will not run then.

    Raises:
        CommandError: The settings could not be restored.
    """
    if not paths.system_proxy_file.exists():
        return
    from trayproxy.desktop.system_proxy.base import READ_AT_LOG_IN
    from trayproxy.desktop.system_proxy.repair import repair
    from trayproxy.service.system_proxy.files import files_of
    from trayproxy.service.system_proxy.problems import ERRORS, not_restored, problem_of

    files = files_of(paths)
    try:
        restored = repair(
            files.journal, files.lock, is_chosen=lambda name: name in READ_AT_LOG_IN
        ).restored
    except ERRORS as error:
        raise CommandError.from_problem(problem_of(error, "")) from None
    if restored.failures:
        raise CommandError.from_problem(not_restored(restored.failures))


def _show(paths: Paths, arguments: Arguments) -> None:
    try:
        status = _autostart(arguments).status()
    except TargetError as error:
        raise CommandError.from_problem(
            Problem("TP-608", "The autostart entry cannot be read", f"{error}.")
        ) from None
    _print(status, arguments)


def _autostart(arguments: Arguments) -> Autostart:
    return autostart(is_headless=arguments.headless)


def _not_changed(reason: TargetError | str) -> Problem:
    return Problem("TP-608", "Autostart could not be changed", f"{reason}.")


def _print(status: AutostartStatus, arguments: Arguments) -> None:
    if arguments.json:
        print_line(json_line({**asdict(status), "schema": JSON_SCHEMA}))
        return
    print_line(as_text(status))
    if status.state is AutostartState.ON and status.reason:
        print_message(status.reason)


def as_text(status: AutostartStatus) -> str:
    """Return the state of autostart as lines of text."""
    program = printable_line(status.program)
    match status.state:
        case AutostartState.ON:
            return f"On: {program}"
        case AutostartState.DISABLED:
            return f"Disabled in the system: {program}\n  {printable_line(status.reason)}"
        case AutostartState.OTHER:
            found = "does not exist" if status.is_missing else "is not this TrayProxy"
            if status.home:
                program += f" with {HOME_VARIABLE}={printable_line(status.home)}"
            starts = f"{program}, which {found}" if program else "no program"
            return (
                f"The entry starts {starts}: {printable_line(status.place)}\n"
                "  To start this TrayProxy instead: trayproxy autostart on"
            )
    return "Off"
