"""The system proxy of macOS: the settings of each network service, by networksetup(8).

Each network service (Wi-Fi, Ethernet, a VPN) has proxies of its own. Administrators may change them
without a password, unless the system settings require one; then macOS asks once for all commands
(AppleScript Language Guide, "do shell script … with administrator privileges").

Written from networksetup(8), security(1) and recorded output, and tested with replacements of the
commands; nothing was run on macOS.
"""

import os
import plistlib
import shlex
from collections.abc import Iterator, Mapping, Sequence

from trayproxy.desktop.commands import CommandResult, Run, command_runner
from trayproxy.desktop.system_proxy.base import (
    ADMINISTRATOR_NEEDED,
    LOOPBACK_EXCEPTIONS,
    BypassKind,
    BypassRule,
    ProxyKind,
    ProxySetting,
    ProxyTargets,
    ProxyView,
    Wanted,
    endpoint,
)
from trayproxy.system_settings.entries import Change, TargetError, Unit, Value, Values

NAME = "networksetup"
_NETWORKSETUP = "/usr/sbin/networksetup"
_RIGHT = "system.preferences.network"
"""The authorization for changes of network settings (security(1), ``authorizationdb``)."""
_REFUSALS = (-128, -1713, -60005, -60006, -60007)
"""The error numbers of osascript without the password of an administrator: the user has cancelled
the question, there is no user to ask (AppleScript Language Guide, "Error Numbers"); denied,
cancelled, or not allowed to ask (Authorization Services Result Codes)."""
_ADMINISTRATOR_TIMEOUT_S = 120.0
"""The time limit of all commands together, in seconds, while macOS may ask for a password."""

_KINDS = ("web", "secure")
_GET = {"web": "-getwebproxy", "secure": "-getsecurewebproxy"}
_SET = {"web": "-setwebproxy", "secure": "-setsecurewebproxy"}
_SET_STATE = {
    "web": "-setwebproxystate",
    "secure": "-setsecurewebproxystate",
    "script": "-setautoproxystate",
    "detection": "-setproxyautodiscovery",
}


class MacTarget:
    """The proxy settings of all enabled network services.

    The keys are ``web address of Wi-Fi``, ``web state of Wi-Fi`` and so on. The value of an address
    is ``host port``, of a state ``on`` or ``off``, of the exceptions their list with line feeds.
    """

    name = NAME
    title = "macOS"
    hint = ""
    is_managed = False

    def __init__(self, run: Run, run_as_administrator: Run) -> None:
        """Find the network services.

        Args:
            run: Runs a command.
            run_as_administrator: Runs a command that may ask the user for a password.

        Raises:
            TargetError: The services cannot be listed.
        """
        self._run = run
        self._run_as_administrator = run_as_administrator
        listed = _checked(run((_NETWORKSETUP, "-listallnetworkservices")))
        # The first line explains the asterisk in front of the names of disabled services.
        self._services = tuple(
            line for line in listed.out.splitlines()[1:] if line and not line.startswith("*")
        )
        self.units: Sequence[Unit] = tuple(
            unit for service in self._services for unit in _units(service)
        )

    def read(self) -> Values:
        """Return the settings of all services; those that cannot be read are left out.

        An address that needs a login is left out, too: macOS does not show the login, so that it
        could not be restored.

        Raises:
            TargetError: No service can be read.
        """
        values: dict[str, Value] = {}
        reason = "there is no network service"
        for service in self._services:
            try:
                values |= self._read_service(service)
            except TargetError as error:
                reason = str(error)
        if not values:
            raise TargetError(reason)
        return values

    def write(self, changes: Sequence[Change]) -> None:
        """Change settings, with at most one question for a password.

        Raises:
            TargetError: A setting was not changed, or the password was not given.
        """
        commands = list(_commands(changes, self.read()))
        if not commands:
            return
        if not self._needs_password():
            failure: TargetError | None = None
            for arguments in commands:
                try:
                    result = self._run((_NETWORKSETUP, *arguments))
                    if "requires admin privileges" in result.out + result.err:
                        break
                    _checked(result)
                except TargetError as error:
                    # The other services are changed nevertheless.
                    failure = failure or error
            else:
                if failure is not None:
                    raise failure
                return
        script = "; ".join(shlex.join((_NETWORKSETUP, *arguments)) for arguments in commands)
        quoted = script.replace("\\", "\\\\").replace('"', '\\"')
        source = f'do shell script "{quoted}" with administrator privileges'
        result = self._run_as_administrator(("/usr/bin/osascript", "-e", source))
        if any(f"({number})" in result.err for number in _REFUSALS):
            raise TargetError(ADMINISTRATOR_NEEDED)
        _checked(result)

    def wanted(self, setting: ProxySetting, present: Values) -> Wanted:
        """Return the values for a setting; see `ProxyTarget`.

        A service whose proxy needs a login gets the PAC file in any mode, and its address stays.
        """
        exceptions, inexpressible = _exceptions(setting.bypass)
        values: dict[str, Value] = {}
        for service in self._services:
            uses_pac = setting.uses_pac or any(
                _key(f"{kind} address", service) not in present for kind in _KINDS
            )
            new: dict[str, Value] = {"exceptions": exceptions, "detection state": "off"}
            if uses_pac:
                new |= {"script url": setting.pac_url, "script state": "on"}
                new |= {f"{kind} state": "off" for kind in _KINDS}
            else:
                new |= {f"{kind} address": f"{setting.host} {setting.port}" for kind in _KINDS}
                new |= {f"{kind} state": "on" for kind in _KINDS} | {"script state": "off"}
            values |= {_key(name, service): value for name, value in new.items()}
        return Wanted(values, inexpressible)

    def describe(self, values: Values, part: str | None = None) -> ProxyView:
        """Return the proxy that programs use on a service, by default on the first service that can
        be read; see `ProxyTarget`.
        """
        for service in self._services:
            if part in (None, service) and _key("detection state", service) in values:
                return _describe({name: values.get(_key(name, service)) for name in _entry_names()})
        return ProxyView(ProxyKind.NONE)

    def in_effect(self) -> ProxyView | None:
        """Return the proxies of the services in use, from scutil(8); see `ProxyTarget`."""
        try:
            found = _parse(_checked(self._run(("/usr/sbin/scutil", "--proxy"))).out)
        except TargetError:
            return None
        if found.get("ProxyAutoConfigEnable") == "1":
            return ProxyView(ProxyKind.PAC, found.get("ProxyAutoConfigURLString", ""))
        addresses = [
            endpoint(found.get(f"{scheme}Proxy", ""), found.get(f"{scheme}Port", "0"))
            for scheme in ("HTTP", "HTTPS")
            if found.get(f"{scheme}Enable") == "1"
        ]
        if addresses:
            return ProxyView(ProxyKind.MANUAL, ", ".join(dict.fromkeys(addresses)))
        return ProxyView(ProxyKind.NONE)

    def without_proxy(self, values: Values) -> Values:
        """Return the values without proxies; see `ProxyTarget`."""
        off = {_key(f"{kind} state", service) for kind in _KINDS for service in self._services}
        return {key: "off" if key in off else value for key, value in values.items()}

    def _read_service(self, service: str) -> dict[str, Value]:
        values: dict[str, Value] = {}
        for kind in _KINDS:
            found = _parse(self._get(_GET[kind], service))
            values[_key(f"{kind} state", service)] = _state(found.get("Enabled"))
            if found.get("Authenticated Proxy Enabled", "0") == "0":
                host, port = found.get("Server", ""), found.get("Port", "0")
                address = f"{host} {port}" if host else None
                values[_key(f"{kind} address", service)] = address
        script = _parse(self._get("-getautoproxyurl", service))
        url = script.get("URL", "(null)")
        values[_key("script url", service)] = None if url == "(null)" else url
        values[_key("script state", service)] = _state(script.get("Enabled"))
        detection = _parse(self._get("-getproxyautodiscovery", service))
        values[_key("detection state", service)] = _state(detection.get("Auto Proxy Discovery"))
        exceptions = self._get("-getproxybypassdomains", service).strip()
        is_empty = not exceptions or exceptions.startswith("There aren't any")
        values[_key("exceptions", service)] = None if is_empty else exceptions
        return values

    def _get(self, command: str, service: str) -> str:
        return _checked(self._run((_NETWORKSETUP, command, service))).out

    def _needs_password(self) -> bool:
        """Return True if macOS requires an administrator's password to change network settings."""
        result = self._run(("/usr/bin/security", "authorizationdb", "read", _RIGHT))
        try:
            right = plistlib.loads(result.out.encode())
        except (ValueError, plistlib.InvalidFileException):
            return False
        return isinstance(right, Mapping) and right.get("shared") is False


def proxy_targets(starts_at_log_in: object) -> ProxyTargets:
    """Return the targets of macOS.

    Args:
        starts_at_log_in: Not used: no target is read only at log-in.

    Raises:
        TargetError: The network services cannot be listed.
    """
    return ProxyTargets((find_target(NAME),))


def find_target(name: str) -> MacTarget:
    """Return the target with a name from the journal.

    Raises:
        TargetError: macOS has no target of this name, or the services cannot be listed.
    """
    if name != NAME:
        raise TargetError(f"there is no target “{name}” on macOS")
    environ = {**os.environ, "LC_ALL": "C"}
    return MacTarget(command_runner(environ), command_runner(environ, _ADMINISTRATOR_TIMEOUT_S))


def _entry_names() -> tuple[str, ...]:
    addresses = tuple(f"{kind} {part}" for kind in _KINDS for part in ("address", "state"))
    return (*addresses, "script url", "script state", "detection state", "exceptions")


def _units(service: str) -> tuple[Unit, ...]:
    """Return the units of a service.

    A state takes effect with its address, so that it is the last to be changed and the first to be
    restored; see `Unit.used_by`.
    """
    units = [Unit(_key("exceptions", service), (_key("exceptions", service),), (), service)]
    for name, value in (("web", "address"), ("secure", "address"), ("script", "url")):
        values, state = _key(f"{name} {value}", service), _key(f"{name} state", service)
        units += [Unit(values, (values,), (), service), Unit(state, (state,), (values,), service)]
    detection = _key("detection state", service)
    return (*units, Unit(detection, (detection,), (), service))


def _key(name: str, service: str) -> str:
    return f"{name} of {service}"


def _commands(changes: Sequence[Change], present: Values) -> Iterator[tuple[str, ...]]:
    """Yield the arguments of networksetup for changes.

    ``-setwebproxy`` and ``-setautoproxyurl`` also switch the proxy on; the state follows them.
    """
    new = {change.key: change.value for change in changes}
    states: dict[str, str] = {}
    for key, value in new.items():
        name, _, service = key.partition(" of ")
        kind, _, part = name.partition(" ")
        match part:
            case "state":
                states[key] = value or "off"
                continue
            case "address":
                host, _, port = (value or " 0").rpartition(" ")
                yield (_SET[kind], service, host, port)
            case "url":
                yield ("-setautoproxyurl", service, value or "")
            case _:
                lines = value.splitlines() if value else ["Empty"]
                yield ("-setproxybypassdomains", service, *lines)
                continue
        state = _key(f"{kind} state", service)
        states.setdefault(state, new.get(state) or present.get(state) or "off")
    for key, state in states.items():
        name, _, service = key.partition(" of ")
        yield (_SET_STATE[name.partition(" ")[0]], service, state)


def _describe(values: Values) -> ProxyView:
    if values["detection state"] == "on":
        return ProxyView(ProxyKind.DETECT)
    if values["script state"] == "on":
        return ProxyView(ProxyKind.PAC, values["script url"] or "")
    found = []
    for kind in _KINDS:
        if values[f"{kind} state"] == "on":
            host, _, port = (values[f"{kind} address"] or "").rpartition(" ")
            found.append(endpoint(host, port))
    if found:
        return ProxyView(ProxyKind.MANUAL, ", ".join(dict.fromkeys(found)))
    return ProxyView(ProxyKind.NONE)


def _exceptions(bypass: Sequence[BypassRule]) -> tuple[str, tuple[str, ...]]:
    """Return the exceptions in the syntax of macOS, and the rules that it cannot express.

    The list has names and addresses with ``*``, and IPv4 networks. It has no ports, and no entry
    for names without a dot, which are a setting of their own.
    """
    entries: list[str] = []
    inexpressible: list[str] = []
    for rule in bypass:
        is_known = rule.port is None and rule.kind is not BypassKind.LOCAL
        if not is_known or (rule.kind is BypassKind.NETWORK and ":" in rule.subject):
            inexpressible.append(rule.text)
        else:
            below = "*." if rule.kind is BypassKind.SUBDOMAINS else ""
            entries.append(f"{below}{rule.subject}")
    return "\n".join(dict.fromkeys((*LOOPBACK_EXCEPTIONS, *entries))), tuple(inexpressible)


def _parse(text: str) -> dict[str, str]:
    """Return the values by their names, from lines such as ``Server: proxy``."""
    fields = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {name.strip(): value.strip() for name, _, value in fields}


def _state(text: str | None) -> str:
    return "on" if text in ("Yes", "On", "1") else "off"


def _checked(result: CommandResult) -> CommandResult:
    """Return the result of a command that has succeeded; networksetup reports errors in its output.

    Raises:
        TargetError: The command has failed.
    """
    if result.code or "** Error" in result.out or result.out.startswith("Error:"):
        lines = (result.err or result.out).strip().splitlines() or [f"exit code {result.code}"]
        raise TargetError(lines[0])
    return result
