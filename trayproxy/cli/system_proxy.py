"""``trayproxy system-proxy``: set, restore and show the system proxy (ux §3.7, §7.1)."""

from contextlib import suppress
from dataclasses import replace

import msgspec

from trayproxy.cli.output import CommandError, json_line, print_line, print_message, printable_line
from trayproxy.cli.service_client import connect_if_running, request, require_service
from trayproxy.cli.verb_parser import Arguments, VerbParser
from trayproxy.control.client import Client
from trayproxy.control.messages import (
    GetSystemProxy,
    LeftoverChoice,
    SystemProxyState,
    SystemProxyStatus,
    UseSystemProxy,
)
from trayproxy.paths import Paths
from trayproxy.profiles.config import SystemProxyMode
from trayproxy.profiles.store import SettingsError, SettingsStore

JSON_SCHEMA = 1
"""The version of the ``--json`` output; raised when a member is removed or changes its meaning."""

_RESTORE_TIMEOUT_S = 30.0
"""The timeout for a service that restores the settings; then ``restore`` does it itself."""


def declare_system_proxy(parser: VerbParser) -> None:
    """Declare ``trayproxy system-proxy`` and its verbs."""
    parser.set_defaults(verb=_show, json=False)
    for name, declare, summary in (
        ("on", _declare_on, "make programs that follow the system settings use TrayProxy"),
        ("off", _declare_off, "put the settings from before TrayProxy back"),
        ("status", _declare_status, "show which proxy programs use now"),
        ("restore", _declare_restore, "like off, even when TrayProxy does not run or answer"),
    ):
        parser.add_verb(name, summary, f"trayproxy system-proxy {name}", declare)


def _declare_on(parser: VerbParser) -> None:
    parser.set_defaults(verb=_turn_on)
    parser.add_argument(
        "--mode",
        type=SystemProxyMode,
        choices=list(SystemProxyMode),
        help="address: programs need TrayProxy; pac: they connect directly while it does not run",
    )
    _add_leftover(
        parser,
        "do not restore the present proxy if it does not work",
        "restore the present proxy later, although it does not work now",
    )
    _add_json(parser)


def _declare_off(parser: VerbParser) -> None:
    parser.set_defaults(verb=_turn_off, leftover=LeftoverChoice.ASK)
    _add_everything(parser)
    _add_json(parser)


def _declare_status(parser: VerbParser) -> None:
    parser.set_defaults(verb=_show)
    _add_json(parser)


def _declare_restore(parser: VerbParser) -> None:
    parser.set_defaults(verb=_restore)
    _add_everything(parser)
    _add_leftover(
        parser,
        "forget the earlier settings that cannot be put back",
        "also put back an earlier proxy on this computer at which no program answers",
    )
    _add_json(parser)


def _add_leftover(parser: VerbParser, forget: str, keep: str) -> None:
    group = parser.add_mutually_exclusive_group()
    for choice, summary in ((LeftoverChoice.FORGET, forget), (LeftoverChoice.KEEP, keep)):
        group.add_argument(
            f"--{choice}",
            dest="leftover",
            action="store_const",
            const=choice,
            default=LeftoverChoice.ASK,
            help=summary,
        )


def _add_everything(parser: VerbParser) -> None:
    parser.add_argument(
        "--everything",
        action="store_true",
        help="also put back what another program has changed since",
    )


def _add_json(parser: VerbParser) -> None:
    parser.add_argument("--json", action="store_true", help='for programs; "schema" is 1')


def _turn_on(paths: Paths, arguments: Arguments) -> None:
    message = UseSystemProxy(True, arguments.mode, arguments.leftover)
    with require_service(paths) as client:
        try:
            _print(_request(client, message), arguments)
        except CommandError as error:
            if "(TP-605)" not in error.message:
                raise
            options = "To forget it: trayproxy system-proxy on --forget. To keep it: --keep"
            raise CommandError(f"{error.message}\n  {options}", error.exit_code) from None


def _turn_off(paths: Paths, arguments: Arguments) -> None:
    client = connect_if_running(paths)
    if client is None:
        _restore_alone(paths, arguments)
        return
    with client:
        _print(_request(client, _off_message(arguments)), arguments)


def _off_message(arguments: Arguments) -> UseSystemProxy:
    return UseSystemProxy(False, leftover=arguments.leftover, everything=arguments.everything)


def _show(paths: Paths, arguments: Arguments) -> None:
    client = connect_if_running(paths)
    if client is None:
        _print(_status_of_files(paths), arguments)
        return
    with client:
        _print(_request(client, GetSystemProxy()), arguments)


def _restore(paths: Paths, arguments: Arguments) -> None:
    # A service that does not answer, or that has another version, must not prevent it.
    failure: CommandError | None = None
    try:
        client = connect_if_running(paths)
        if client is not None:
            with client:
                _print(_request(client, _off_message(arguments), _RESTORE_TIMEOUT_S), arguments)
                return
    except CommandError as error:
        failure = error
    _restore_alone(paths, arguments, failure)


def _request(
    client: Client, message: GetSystemProxy | UseSystemProxy, timeout_s: float = 60.0
) -> SystemProxyStatus:
    reply = request(client, message, timeout_s)
    if not isinstance(reply, SystemProxyStatus):
        raise CommandError("TrayProxy sent an unexpected reply.")
    return reply


def _restore_alone(paths: Paths, arguments: Arguments, failure: CommandError | None = None) -> None:
    """Restore the system proxy in this process.

    Args:
        paths: The paths of the service.
        arguments: The arguments of the verb.
        failure: Why a running service has not restored it.

    Raises:
        CommandError: Something could not be restored, or the service has failed and there is
            nothing to restore any more.
    """
    from trayproxy.desktop.system_proxy.repair import RestorePolicy, repair
    from trayproxy.service.system_proxy.files import files_of
    from trayproxy.service.system_proxy.problems import ERRORS, damaged, not_restored, problem_of

    _stop_using(paths)
    policies = {
        LeftoverChoice.KEEP: RestorePolicy.FORCE,
        LeftoverChoice.FORGET: RestorePolicy.FORGET,
    }
    try:
        paths.prepare()
        files = files_of(paths)
        result = repair(
            files.journal,
            files.lock,
            policies.get(arguments.leftover, RestorePolicy.RETRY),
            everything=arguments.everything,
        )
    except ERRORS as error:
        raise CommandError.from_problem(problem_of(error, "")) from None
    if result.damaged is not None:
        raise CommandError.from_problem(damaged(result.damaged))
    if result.restored.failures:
        raise CommandError.from_problem(not_restored(result.restored.failures))
    if failure is not None and not result.restored.had_journal:
        raise failure
    _print(_status_of_files(paths) if result.restored.rest else SystemProxyStatus(), arguments)
    if result.restored.left and not arguments.json:
        print_message("Another program has changed the system proxy since; its settings stay.")


def _stop_using(paths: Paths) -> None:
    """Change the settings so that the next start does not set the system proxy again."""
    store = SettingsStore(paths.config_file)
    with suppress(SettingsError):
        config = store.load()
        if config.system_proxy.use:
            store.save(replace(config, system_proxy=replace(config.system_proxy, use=False)))


def _status_of_files(paths: Paths) -> SystemProxyStatus:
    """Return the state of the system proxy while no service runs."""
    from trayproxy.desktop.autostart.factory import starts_at_log_in
    from trayproxy.desktop.system_proxy.factory import proxy_targets
    from trayproxy.service.system_proxy.files import files_of
    from trayproxy.service.system_proxy.operations import read_back
    from trayproxy.service.system_proxy.problems import ERRORS, problem_of
    from trayproxy.service.system_proxy.status import status_of
    from trayproxy.system_settings.entries import TargetError
    from trayproxy.system_settings.journal import JournalError

    try:
        return status_of(read_back(files_of(paths), proxy_targets(starts_at_log_in)))
    except TargetError as error:
        return SystemProxyStatus(SystemProxyState.UNAVAILABLE, hints=(f"{error}",))
    except JournalError as error:
        raise CommandError(
            f"The record of your system proxy cannot be used: {error.reason}. To put your settings "
            "back, or to keep a damaged record under another name: trayproxy system-proxy restore "
            "(TP-606)"
        ) from None
    except ERRORS as error:
        raise CommandError.from_problem(problem_of(error, "")) from None


def _print(status: SystemProxyStatus, arguments: Arguments) -> None:
    if arguments.json:
        print_line(json_line({**msgspec.to_builtins(status), "schema": JSON_SCHEMA}))
    else:
        print_line(as_text(status))


def as_text(status: SystemProxyStatus) -> str:
    """Return the status of the system proxy as lines of text."""
    lines = [system_proxy_text(status)]
    lines += (f"  {hint}" for hint in status.hints if status.state is SystemProxyState.ON)
    if status.inexpressible:
        rules = printable_line(", ".join(status.inexpressible))
        lines.append(
            f"  The system cannot express these exceptions: {rules}. Programs send their requests "
            "to TrayProxy, which connects directly."
        )
    if status.skipped:
        lines.append(f"  Left alone: {printable_line(', '.join(status.skipped))}")
    if status.waiting:
        names = printable_line(", ".join(status.waiting))
        lines.append(
            f"  Not put back yet: {names}. TrayProxy tries again when it starts and when the "
            "network changes."
        )
    if status.withheld:
        lines.append(
            f"  Your earlier system proxy {printable_line(status.withheld)} was not put back, "
            "because no program answers there.\n"
            "  To have it back nevertheless: trayproxy system-proxy restore --keep\n"
            "  To forget it: trayproxy system-proxy restore --forget"
        )
    return "\n".join(lines)


def system_proxy_text(status: SystemProxyStatus) -> str:
    """Return the state of the system proxy as one line."""
    match status.state:
        case SystemProxyState.ON:
            through = " (PAC file)" if status.mode is SystemProxyMode.PAC else ""
            return f"On{through}: {', '.join(status.targets)}"
        case SystemProxyState.CHANGED if status.value:
            who = printable_line(status.program) or "another program"
            return f"Changed by {who}: it is now {printable_line(status.value)} (TP-603)"
        case SystemProxyState.CHANGED:
            return "Changed by another program: programs connect directly now (TP-603)"
        case SystemProxyState.MANAGED:
            return "Managed by your organisation: it cannot be changed here"
        case SystemProxyState.UNAVAILABLE:
            return "Not available: " + printable_line(", ".join(status.hints))
    if status.holder:
        return f"Off: the TrayProxy with the settings {printable_line(status.holder)} has set it"
    return "Off"
