"""``trayproxy status``: print the status of the service as text or JSON."""

from time import localtime, strftime

import msgspec

from trayproxy.cli.output import json_line, print_line, printable_line, problem_line
from trayproxy.cli.service_client import fetch_status, require_service
from trayproxy.cli.system_proxy import system_proxy_text
from trayproxy.cli.verb_parser import Arguments, VerbParser
from trayproxy.control.icon_state import (
    TROUBLE_AFTER_S,
    IconFacts,
    IconState,
    cannot_sign_in,
    has_no_active_profile,
    has_no_profile,
    icon_state,
    lacks_sign_in,
    needs_sign_in,
)
from trayproxy.control.messages import (
    ListenerState,
    NetworkSwitch,
    RefusedClients,
    RefusedDevices,
    Status,
    SystemProxyState,
    UpstreamState,
)
from trayproxy.control.texts import STARTING_TEXT, SWITCH_REASONS, state_text
from trayproxy.domain.problem import ExitCode, exit_code_for
from trayproxy.domain.signin import KeyringState, KeyringStatus, SignInState
from trayproxy.paths import Paths
from trayproxy.profiles.profile import DIRECT_ID, DIRECT_NAME, Profile

JSON_SCHEMA = 1
"""The version of the ``--json`` output; raised when a member is removed or changes its meaning."""

_SIGN_IN_TEXTS = {
    SignInState.NONE: "not wanted by this profile",
    SignInState.UNTESTED: "the proxy has not asked yet",
    SignInState.OK: "accepted",
    SignInState.NEEDED: "needed",
    SignInState.REJECTED: "the proxy did not accept the password",
    SignInState.SNOOZED: "needed; not asking for now",
    SignInState.UNUSABLE: "the proxy offers no method that TrayProxy can use here",
}

_KEYRING_TEXTS = {
    KeyringState.UNKNOWN: "not used yet",
    KeyringState.OK: "in use",
    KeyringState.LOCKED: "locked",
    KeyringState.SILENT: "does not answer",
    KeyringState.UNSAFE: "not used: it would store passwords unprotected",
    KeyringState.MISSING: "none; passwords stay in memory",
    KeyringState.OFF: "not used in this run; passwords stay in memory",
}


def declare_status(parser: VerbParser) -> None:
    """Declare ``trayproxy status``."""
    parser.set_defaults(verb=_status)
    parser.add_argument("--json", action="store_true", help='for programs; "schema" is 1')


def _status(paths: Paths, arguments: Arguments) -> ExitCode:
    with require_service(paths) as client:
        status = fetch_status(client)
    print_line(as_json(status) if arguments.json else as_text(status))
    return exit_code(status)


def as_json(status: Status) -> str:
    """Return the status as one line of JSON: the fields of `Status`, ``state``, and the output's
    own ``schema``."""
    members = msgspec.to_builtins(status)
    members |= {"schema": JSON_SCHEMA, "state": state(status)}
    return json_line(members)


def as_text(status: Status) -> str:
    """Return the status as lines of text."""
    rows = [("Local address", status.address)]
    if status.profile is not None:
        rows.append(("Proxy", _proxies(status.profile)))
        rows.append(("Sign-in", _sign_in_text(status)))
        if status.saved is not None:
            rows.append(("Password", "saved" if status.saved else "not saved"))
    rows.append(("Keyring", keyring_text(status.keyring)))
    system_proxy = status.system_proxy
    if system_proxy.state in (SystemProxyState.ON, SystemProxyState.CHANGED) or system_proxy.holder:
        rows.append(("System proxy", system_proxy_text(system_proxy)))
    elif system_proxy.waiting:
        names = printable_line(", ".join(system_proxy.waiting))
        rows.append(("System proxy", f"Off; not put back yet: {names}"))
    if status.network_switch is not None:
        rows.append(("Network", network_switch_text(status, status.network_switch)))
    if status.listeners:
        # Here, because most settings have no further listeners.
        from trayproxy.cli.further_listeners import as_rows

        rows += as_rows(status.listeners)
    if status.active:
        rows.append(("Connections", str(status.active)))
    if status.screen_locked:
        rows.append(("Screen", "locked; questions wait until you unlock it"))
    if status.refused_clients.count:
        rows.append(("Refused", refused_clients_text(status.refused_clients)))
    if status.refused_devices.count:
        rows.append(("Refused", refused_devices_text(status.refused_devices)))
    if status.problem is not None:
        rows.append(("Problem", problem_line(status.problem)))
    rows += [("Notice", problem_line(notice)) for notice in status.notices]
    lines = [f"  {name + ':':<15} {text}" for name, text in rows]
    return "\n".join([heading(status), *lines])


def state(status: Status) -> IconState:
    """Return the tray icon's state (ux §3.1), without the tray's delays."""
    return icon_state(IconFacts(status, unreachable_s=TROUBLE_AFTER_S))


def heading(status: Status) -> str:
    """Return the state as a sentence without a full stop, like the first line of the tray menu."""
    if status.listener is ListenerState.FAILED:
        return "Not running"
    if has_no_active_profile(status):
        return "No profile is in use; choose one: trayproxy profiles use"
    if status.listener is ListenerState.STARTING:
        return STARTING_TEXT
    template = state_text(state(status), status).replace("{name}:", "{name} —")
    if status.waiting and state(status) is IconState.SIGNIN:
        requests = "request" if status.waiting == 1 else "requests"
        template += f" ({status.waiting} {requests} waiting)"
    return template.format(
        name=printable_line(status.profile.name) if status.profile is not None else "",
        host=_host(status.profile),
        user=printable_line(status.user),
        time=strftime("%H:%M", localtime(status.direct_until)),
    )


def _proxies(profile: Profile) -> str:
    """Return the addresses of the proxies, or of the PAC script."""
    if profile.pac is not None:
        return f"automatic, {printable_line(profile.address)}"
    return ", ".join(map(str, profile.default_upstreams))


def _host(profile: Profile | None) -> str:
    if profile is None:
        return ""
    return "the proxy" if profile.upstream is None else profile.upstream.host


def exit_code(status: Status) -> ExitCode:
    """Return the exit code of ``trayproxy status`` (ux §7.1): 0 if programs can use TrayProxy."""
    if status.listener is ListenerState.FAILED and status.problem is not None:
        return exit_code_for(status.problem)
    if needs_sign_in(status) or cannot_sign_in(status):
        return ExitCode.SIGN_IN
    if status.upstream is UpstreamState.UNREACHABLE:
        return ExitCode.UPSTREAM
    is_usable = state(status) != "stopped" and not has_no_profile(status)
    return ExitCode.DONE if is_usable else ExitCode.FAILED


def _sign_in_text(status: Status) -> str:
    if lacks_sign_in(status):
        return "the proxy wants one, but the profile is set to use none"
    return _SIGN_IN_TEXTS[status.sign_in]


def refused_clients_text(refused: RefusedClients) -> str:
    """Return the number of refused connections and the origin of the last refused connection."""
    connections = "connection" if refused.count == 1 else "connections"
    origin = "a program that had already ended"
    if refused.user:
        origin = f"user {printable_line(refused.user)}"
    program = f" ({printable_line(refused.program)})" if refused.program else ""
    last = strftime("%H:%M", localtime(refused.last))
    return f"{refused.count} {connections}, the last one of {origin}{program} at {last}"


def network_switch_text(status: Status, switch: NetworkSwitch) -> str:
    """Return why the network has caused the present choice, and the command to go back."""
    reason = SWITCH_REASONS[switch.cause].format(fact=printable_line(switch.fact))
    names = {profile.id: profile.name for profile in status.profiles} | {DIRECT_ID: DIRECT_NAME}
    before = names.get(switch.previous_id)
    if before is None:
        return reason
    from shlex import quote  # Rarely needed.

    name = printable_line(before)
    return f"{reason} To go back: trayproxy profiles use {quote(name)}"


def refused_devices_text(refused: RefusedDevices) -> str:
    """Return the number of refused connections of other devices, and the last device."""
    connections = "connection" if refused.count == 1 else "connections"
    last = strftime("%H:%M", localtime(refused.last))
    return (
        f"{refused.count} {connections} of other devices, the last one of "
        f"{printable_line(refused.address)} at {last}"
    )


def keyring_text(keyring: KeyringStatus) -> str:
    """Return the name and the state of the password store."""
    text = _KEYRING_TEXTS[keyring.state]
    return f"{printable_line(keyring.name)}, {text}" if keyring.name else text
