"""The system proxy of GNOME, in the settings ``org.gnome.system.proxy``.

Chromium reads them on GNOME, Cinnamon, MATE, Pantheon, Unity, Deepin and UKUI; Firefox with “Use
system proxy settings”, on every desktop; GIO programs on GNOME; libproxy on GNOME, MATE, Pantheon
and Cinnamon. Sources: Chromium's ``proxy_config_service_linux.cc``, Firefox's
``nsUnixSystemProxySettings.cpp``, glib-networking's ``gproxyresolvergnome.c``, GLib's
``gsimpleproxyresolver.c`` and libproxy's ``config-gnome.c``.

The values of the target are GVariant texts as gsettings(1) prints them: ``'127.0.0.1'``, ``3128``,
``['localhost', '::1']``.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from trayproxy.desktop.commands import CommandResult, Run
from trayproxy.desktop.system_proxy.base import (
    LOOPBACK_EXCEPTIONS,
    BypassKind,
    BypassRule,
    ProxyKind,
    ProxySetting,
    ProxyView,
    Wanted,
    endpoint,
)
from trayproxy.desktop.system_proxy.bypass_rules import ExceptionList, exception_list
from trayproxy.desktop.system_proxy.linux_commands import Which
from trayproxy.system_settings.entries import Change, TargetError, Unit, Value, Values

SCHEMA = "org.gnome.system.proxy"
"""The schema of the settings; its children such as ``http`` have schemas of their own."""

PATH = "/system/proxy/"
"""The folder of the settings in dconf."""

UNITS = (
    Unit("http", ("http host", "http port")),
    # Restored while the address is another program's, it would send the login of the old proxy to
    # the new one.
    Unit("authentication", ("http use-authentication",), used_by=("http",)),
    Unit("https", ("https host", "https port")),
    Unit("exceptions", ("ignore-hosts",)),
    Unit("script", ("autoconfig-url",)),
    Unit("mode", ("mode",), used_by=("http", "https", "script")),
)
"""The units that TrayProxy changes.

The proxies for FTP and SOCKS stay as they are, because TrayProxy is neither. Chromium prefers a
SOCKS proxy for WebSockets, if one is set.
"""

KEYS = tuple(key for unit in UNITS for key in unit.keys)
"""All keys: the name in the schema, after the name of the child and a space."""

_DEFAULTS = {
    "mode": "'none'",
    "autoconfig-url": "''",
    "http host": "''",
    "http port": "8080",
    "https host": "''",
    "https port": "0",
}
"""The defaults of the schema that matter for the meaning of unset values."""

_COMMAND = "/usr/bin/gsettings"
_DUMP = 'printf "%s\\n" "$2" | DCONF_PROFILE=/dev/stdin "$0" dump "$1"'
_ESCAPE = re.compile(r"\\(u[0-9a-f]{4}|U[0-9a-f]{8}|.)", re.DOTALL)
_CONTROL = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def find_gsettings(which: Which) -> str | None:
    """Return the path of gsettings; None if it is not installed.

    The system's own gsettings comes first: Conda puts another one first in ``PATH``, which stores
    its values where no program looks.
    """
    return which(_COMMAND) or which("gsettings")


def user_database(environ: Mapping[str, str], read: Callable[[str], str | None]) -> str:
    """Return the source of the user's values in dconf, ``user-db:user``; empty without a profile.

    A profile (dconf(7)) names this source first, and then the databases of an administrator with
    defaults and locks. Without a profile, dconf has only the database of the user. The profile in
    ``/run/dconf/user`` is mandatory: dconf uses no other one, so that the administrator's values
    count as the user's there.

    Args:
        environ: The environment with ``XDG_RUNTIME_DIR``.
        read: Returns the text of a file; None if there is none.
    """
    for path in _profiles(environ):
        text = read(path)
        if text is not None:
            sources = [line.partition("#")[0].strip() for line in text.splitlines()]
            writable = (line for line in sources if line.startswith(("user-db:", "service-db:")))
            return next(writable, "user-db:user")
    return ""


def _profiles(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield the paths at which dconf looks for its profile, as in ``dconf-engine-profile.c``."""
    runtime = environ.get("XDG_RUNTIME_DIR") or "/run/user/0"
    folders = (environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share").split(":")
    yield f"/run/dconf/user/{PurePosixPath(runtime).name}"
    name = environ.get("DCONF_PROFILE")
    if not name:
        yield f"{runtime}/dconf.profile"
    elif name.startswith("/"):
        yield name
        return
    for folder in ("/etc", *folders):
        yield f"{folder}/dconf/profile/{name or 'user'}"


class GSettingsTarget:
    """The settings ``org.gnome.system.proxy``.

    With dconf(1), a value is unset if the database of the user does not have it. Without dconf, a
    value that equals the default of the schema counts as unset: it has the text of the default, and
    writing this text unsets it.
    """

    name = "gsettings"
    title = "GNOME"
    units: Sequence[Unit] = UNITS

    def __init__(
        self, run: Run, gsettings: str | None, dconf: str | None, database: str = "", hint: str = ""
    ) -> None:
        """Create the target, without running a command.

        Args:
            run: Runs a command in the session of the user.
            gsettings: The path of gsettings; None if it is not installed.
            dconf: The path of dconf; None if it is not installed.
            database: The source of the user's values, from `user_database`.
            hint: See `ProxyTarget`.
        """
        self.hint = hint
        self._run = run
        self._gsettings = gsettings
        self._dconf = dconf
        self._database = database
        self._defaults = dict(_DEFAULTS)

    @property
    def is_managed(self) -> bool:
        """True if an administrator has locked one of the settings."""
        try:
            return any(
                self._call("writable", *_address(key)).out.strip() == "false" for key in KEYS
            )
        except TargetError:
            return False

    def read(self) -> Values:
        """Return the present values; see `SettingsTarget`.

        Raises:
            TargetError: gsettings or the schema is not installed, or the command fails.
        """
        # Also with dconf: without the schema, no program reads the settings.
        effective = self._list()
        missing = [key for key in KEYS if key not in effective]
        if missing:
            raise TargetError(f"the schema {SCHEMA} has no key “{missing[0]}”")
        if self._dconf is None:
            return {key: effective[key] for key in KEYS}
        present = parse_dump(_checked(self._run(self._dump(self._dconf)), "dconf dump").out)
        self._defaults |= {key: effective[key] for key in KEYS if key not in present}
        return {key: present.get(key) for key in KEYS}

    def write(self, changes: Sequence[Change]) -> None:
        """Change values in the given order; see `SettingsTarget`."""
        defaults = {} if self._dconf else self._list("env", "GSETTINGS_BACKEND=memory")
        for change in changes:
            self._write(
                change.key, None if change.value == defaults.get(change.key) else change.value
            )

    def wanted(self, setting: ProxySetting, present: Values) -> Wanted:
        """Return the values for a setting; see `ProxyTarget`."""
        found = ignore_hosts(setting.bypass)
        values: dict[str, Value] = {
            "ignore-hosts": f"[{', '.join(map(quote, (*LOOPBACK_EXCEPTIONS, *found.entries)))}]"
        }
        if setting.uses_pac:
            # The PAC file knows all rules.
            values |= {"autoconfig-url": quote(setting.pac_url), "mode": "'auto'"}
            return Wanted(values)
        host, port = quote(setting.host), str(setting.port)
        values |= {
            "http host": host,
            "http port": port,
            # GIO and libproxy send the login of the user's proxy to the address above otherwise.
            "http use-authentication": "false",
            "https host": host,
            "https port": port,
            "mode": "'manual'",
        }
        return Wanted(values, found.inexpressible)

    def describe(self, values: Values, part: str | None = None) -> ProxyView:
        """Return the proxy that programs use with the values; see `ProxyTarget`.

        Unset values have the defaults that `read` has found: an administrator may have set others
        than those of the schema.
        """
        known = self._defaults | {key: value for key, value in values.items() if value is not None}
        mode = unquote(known["mode"])
        if mode == "auto":
            url = unquote(known["autoconfig-url"])
            return ProxyView(ProxyKind.PAC, url) if url else ProxyView(ProxyKind.DETECT)
        if mode == "manual":
            found = (_endpoint(known, "http"), _endpoint(known, "https"))
            return ProxyView(ProxyKind.MANUAL, ", ".join(dict.fromkeys(filter(None, found))))
        return ProxyView(ProxyKind.NONE)

    def with_defaults(self, values: Values) -> dict[str, str]:
        """Return values with the defaults of the unset ones, and the present values of other keys.

        The defaults are those of an administrator, or else of the schema.

        Args:
            values: Values of `KEYS`; a value may be unset although it is set now.

        Raises:
            TargetError: See `read`.
        """
        found = self._list()
        unset = [key for key in KEYS if values.get(key) is None]
        defaults = self._list("env", "GSETTINGS_BACKEND=memory") if unset else {}
        for key in unset:
            if self._dconf is not None:
                of_site = self._run((self._dconf, "read", "-d", _path(key))).out.strip()
                found[key] = of_site or defaults[key]
            else:
                found[key] = defaults[key]
        return found | {key: value for key, value in values.items() if value is not None}

    def in_effect(self) -> None:
        """Return None: there are no connections with proxies of their own; see `ProxyTarget`."""

    def without_proxy(self, values: Values) -> Values:
        """Return the values without proxies; see `ProxyTarget`."""
        keys = ("http host", "http port", "https host", "https port", "mode")
        return {**values, **dict.fromkeys(keys)}

    def _list(self, *before: str) -> dict[str, str]:
        """Return all values with the defaults, as gsettings prints them."""
        if self._gsettings is None:
            raise TargetError("gsettings is not installed")
        result = self._run((*before, self._gsettings, "list-recursively", SCHEMA))
        return parse_list(_checked(result, "gsettings").out)

    def _dump(self, dconf: str) -> tuple[str, ...]:
        """Return the command line of dconf that prints the user's values of the settings."""
        if not self._database:
            return (dconf, "dump", PATH)
        # `dconf dump` also prints the values of an administrator, which are unset values here. A
        # profile that consists only of the user's database excludes them.
        return ("sh", "-c", _DUMP, dconf, PATH, self._database)

    def _write(self, key: str, value: Value) -> None:
        address = _address(key)
        if value is None:
            result = self._call("reset", *address)
        else:
            result = self._call("set", *address, value)
            if result.code and self._dconf is not None:
                # gsettings refuses values of another type. The original value may be one, written
                # with dconf.
                again = self._run((self._dconf, "write", _path(key), value))
                result = result if again.code else again
        _checked(result, f"gsettings refuses to change “{key}”")

    def _call(self, *arguments: str) -> CommandResult:
        if self._gsettings is None:
            raise TargetError("gsettings is not installed")
        return self._run((self._gsettings, *arguments))


def ignore_hosts(bypass: Sequence[BypassRule]) -> ExceptionList:
    """Return bypass rules as entries of ``ignore-hosts``.

    GLib, Firefox, Chromium and libproxy understand names, ``*.domain``, addresses and networks.
    GLib and libproxy take ``*.domain`` for the domain itself as well, and a name for its
    subdomains. Only Chromium understands patterns, ``<local>`` (also libproxy) and ports of any
    URL; GLib and libproxy compare ports only with a port that the URL contains, Firefox never. The
    other programs ignore such entries.
    """
    return exception_list(bypass, _entry, lambda rule: rule.port is None and rule.kind in _COMMON)


_COMMON = (BypassKind.NAME, BypassKind.SUBDOMAINS, BypassKind.ADDRESS, BypassKind.NETWORK)


def _entry(rule: BypassRule) -> str | None:
    match rule.kind:
        case BypassKind.SUBDOMAINS:
            return f"*.{rule.subject}{rule.port_suffix}"
        case BypassKind.ADDRESS if ":" in rule.subject:
            # Chromium takes fd00::1 for a name with the port 1.
            return rule.network if rule.port is None else f"[{rule.subject}]{rule.port_suffix}"
        case BypassKind.NETWORK | BypassKind.LOCAL if rule.port is not None:
            return None
        case _:
            return f"{rule.subject}{rule.port_suffix}"


def parse_list(text: str) -> dict[str, str]:
    """Return the values by key from the output of ``gsettings list-recursively``."""
    values: dict[str, str] = {}
    for line in text.split("\n"):
        schema, _, rest = line.partition(" ")
        name, blank, value = rest.partition(" ")
        if blank and (schema == SCHEMA or schema.startswith(f"{SCHEMA}.")):
            child = schema[len(SCHEMA) + 1 :]
            values[f"{child} {name}".lstrip()] = value
    return values


def parse_dump(text: str) -> dict[str, str]:
    """Return the values by key from the output of ``dconf dump /system/proxy/``."""
    values: dict[str, str] = {}
    folder = ""
    for line in text.split("\n"):
        if line.startswith("["):
            folder = line.strip("[]/")
        else:
            name, equals, value = line.partition("=")
            if equals:
                values[f"{folder} {name}".lstrip()] = value
    return values


def quote(text: str) -> str:
    """Return a string as GVariant text, in the form that gsettings prints."""
    mark = '"' if "'" in text else "'"
    return f"{mark}{text.replace(chr(92), chr(92) * 2).replace(mark, chr(92) + mark)}{mark}"


def unquote(text: str) -> str:
    """Return the string of a GVariant text; empty if the text is not a string."""
    if len(text) < 2 or text[0] not in "'\"" or text[-1] != text[0]:
        return ""
    return _ESCAPE.sub(_unescape, text[1:-1])


def _unescape(match: re.Match[str]) -> str:
    escape = match[1]
    if len(escape) == 1:
        return _CONTROL.get(escape, escape)
    code = int(escape[1:], 16)
    return chr(code) if code <= 0x10FFFF else "\ufffd"


def _endpoint(values: Mapping[str, str], scheme: str) -> str:
    host, port = unquote(values[f"{scheme} host"]), values[f"{scheme} port"]
    # Firefox and libproxy ignore a host with the port 0.
    return endpoint(host, port) if host and port != "0" else ""


def _address(key: str) -> tuple[str, str]:
    """Return the schema of a key, and the name of the key in the schema."""
    child, blank, name = key.rpartition(" ")
    return (f"{SCHEMA}.{child}" if blank else SCHEMA), name


def _path(key: str) -> str:
    return PATH + key.replace(" ", "/")


def _checked(result: CommandResult, subject: str) -> CommandResult:
    if result.code:
        raise TargetError(f"{subject}: {result.reason}")
    return result
