"""The system proxy of KDE, in the group ``Proxy Settings`` of the file ``kioslaverc``.

Chromium and libproxy (through which Qt programs ask for the proxy since KDE Frameworks 6) read the
user's file themselves; KDE Frameworks 5 read it with KConfig. Sources: Chromium's
``proxy_config_service_linux.cc``, libproxy's ``config-kde.c``, KConfig's ``kconfigini.cpp``.

TrayProxy edits the lines of its keys and replaces the file, like KConfig, with a rename. The
command ``kwriteconfig5`` would not do: it writes no value that equals the default of
``/etc/xdg/kioslaverc``, so that Chromium and libproxy would not find the value; its ``--delete``
writes ``ProxyType[$d]`` if there is such a default, which hides the default instead of restoring
it; and it removes comments.

The value of an entry is the text of its line after the key: ``=1``, ``= 1``, ``[$e]=$HOME/x.pac``
or ``[$d]`` (deleted by the user). Thus the line is restored as it was.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from trayproxy.desktop.atomic_file import read_text, replace_text
from trayproxy.desktop.commands import Run
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

GROUP = "Proxy Settings"
"""The group of the file."""

UNITS = (
    Unit("http", ("httpProxy",)),
    Unit("https", ("httpsProxy",)),
    Unit("exceptions", ("NoProxyFor", "ReversedException")),
    Unit("script", ("Proxy Config Script",)),
    Unit("mode", ("ProxyType",), used_by=("http", "https", "script")),
)
"""The units that TrayProxy changes; `ftpProxy` and `socksProxy` stay as they are."""

KEYS = tuple(key for unit in UNITS for key in unit.keys)
"""The keys of all `UNITS`."""

_SOCKS = ("socksProxy",)
_MANUAL = "1"
_PAC = "2"
_KINDS = {
    _MANUAL: ProxyKind.MANUAL,
    _PAC: ProxyKind.PAC,
    "3": ProxyKind.DETECT,
    "4": ProxyKind.ENVIRONMENT,
}
_SCHEME = re.compile("^[a-z][a-z0-9+.-]*://", re.IGNORECASE)
_HEADER = re.compile(r"\s*\[(?P<name>[^]]*)\](?P<more>.*)", re.DOTALL)
_ENTRY = re.compile(
    r"(?P<before>\s*(?P<key>[^=[#\s][^=[]*?))(?P<value>\s*(?:\[.*)?(?:=.*)?)", re.DOTALL
)
_OWN_OPTIONS = re.compile(r"\s*(\[\$[ed]\])?\s*(=.*)?", re.DOTALL)
_LOCKED = re.compile(r"\[\$[a-z]*i[a-z]*\]")


class KdeTarget:
    """The file ``kioslaverc`` of the user."""

    name = "kioslaverc"
    title = "KDE"
    hint = ""
    units: Sequence[Unit] = UNITS

    def __init__(self, path: Path, run: Run, which: Which, site_files: Sequence[Path] = ()) -> None:
        """Set the files and the commands.

        Args:
            path: The file of the user. It may be missing.
            run: Runs a command in the session of the user.
            which: Finds a command.
            site_files: The files of the administrator with the same name, with defaults and locks.
        """
        self._path = path
        self._run = run
        self._which = which
        self._site_files = site_files

    @property
    def is_managed(self) -> bool:
        """True if an administrator has locked the file, the group or one of the keys, with
        ``[$i]``; or if a key has a value for a language, which has precedence.
        """
        for path in (self._path, *self._site_files):
            with suppress(TargetError):
                if _has_locks(_lines(read_text(path) or "")):
                    return True
        return False

    def read(self) -> Values:
        """Return the present values; see `SettingsTarget`."""
        return values_of(read_text(self._path) or "")

    def write(self, changes: Sequence[Change]) -> None:
        """Change values, all at once; see `SettingsTarget`.

        A file that becomes empty is not removed: Chromium notices a changed file, but not a removed
        one, and would go on using TrayProxy's address. The command ``kwriteconfig5 --delete``
        leaves an empty file as well.
        """
        text = read_text(self._path) or ""
        replace_text(self._path, edited(text, {change.key: change.value for change in changes}))
        self._signal()

    def wanted(self, setting: ProxySetting, present: Values) -> Wanted:
        """Return the values for a setting; see `ProxyTarget`."""
        found = no_proxy_for(setting.bypass)
        values: dict[str, Value] = {
            # libproxy converts spaces to colons: only commas may separate.
            "NoProxyFor": f"={','.join((*LOOPBACK_EXCEPTIONS, *found.entries))}",
            "ReversedException": "=false",
        }
        if setting.uses_pac:
            # The PAC file knows all rules.
            values |= {"Proxy Config Script": f"={setting.pac_url}", "ProxyType": f"={_PAC}"}
            return Wanted(values)
        # KDE separates the port with a space; both Chromium and libproxy convert it to a colon.
        url = "=http://{}".format(endpoint(setting.host, "").removesuffix(":"))
        address = f"{url} {setting.port}"
        values |= {"httpProxy": address, "httpsProxy": address, "ProxyType": f"={_MANUAL}"}
        return Wanted(values, found.inexpressible)

    def describe(self, values: Values, part: str | None = None) -> ProxyView:
        """Return the proxy that programs use with the values; see `ProxyTarget`."""
        kind = _KINDS.get(text_of(values, "ProxyType"), ProxyKind.NONE)
        if kind is ProxyKind.MANUAL:
            found = (_endpoint(values, "httpProxy"), _endpoint(values, "httpsProxy"))
            return ProxyView(kind, ", ".join(dict.fromkeys(filter(None, found))))
        if kind is ProxyKind.PAC:
            return ProxyView(kind, text_of(values, "Proxy Config Script"))
        return ProxyView(kind)

    def with_defaults(self, values: Values) -> Values:
        """Return values with the administrator's defaults of the unset ones, and the proxy for
        SOCKS, ``socksProxy``, which TrayProxy does not change.

        Args:
            values: Values of `KEYS`.
        """
        known = {**values, **values_of(read_text(self._path) or "", _SOCKS)}
        for path in self._site_files:
            with suppress(TargetError):
                for key, value in values_of(read_text(path) or "", (*KEYS, *_SOCKS)).items():
                    known[key] = value if known.get(key) is None else known[key]
        return known

    def in_effect(self) -> None:
        """Return None: there are no connections with proxies of their own; see `ProxyTarget`."""

    def without_proxy(self, values: Values) -> Values:
        """Return the values without proxies; see `ProxyTarget`."""
        return {**values, **dict.fromkeys(("httpProxy", "httpsProxy", "ProxyType"))}

    def _signal(self) -> None:
        """Send the D-Bus signal after which the programs of KDE read the file again.

        All programs receive the signal (KIO's ``scheduler.cpp``). Without the signal, programs
        notice the change when they start, or if they watch the file.
        """
        path, signal = "/KIO/Scheduler", "org.kde.KIO.Scheduler.reparseSlaveConfiguration"
        gdbus, dbus_send = self._which("gdbus"), self._which("dbus-send")
        with suppress(TargetError):
            if gdbus is not None:
                emit = (gdbus, "emit", "--session", "--object-path", path, "--signal", signal)
                self._run((*emit, "''"))
            elif dbus_send is not None:
                self._run((dbus_send, "--session", "--type=signal", path, signal, "string:"))


def no_proxy_for(bypass: Sequence[BypassRule]) -> ExceptionList:
    """Return bypass rules as entries of ``NoProxyFor``.

    Programs compare the end of a host with an entry: Chromium and KDE Frameworks 5 take ``x.com``
    for every host that ends with it, ``netflix.com`` included. Names are therefore left out, and so
    are patterns that do not begin with ``*``. An address is written as a network of one address.
    """
    return exception_list(bypass, _entry, lambda rule: rule.port is None and rule.kind in _COMMON)


_COMMON = (BypassKind.SUBDOMAINS, BypassKind.ADDRESS, BypassKind.NETWORK, BypassKind.LOCAL)


def _entry(rule: BypassRule) -> str | None:
    match rule.kind:
        case BypassKind.SUBDOMAINS:
            return f".{rule.subject}{rule.port_suffix}"
        case BypassKind.PATTERN if rule.subject.startswith("*"):
            return f"{rule.subject}{rule.port_suffix}"
        case BypassKind.ADDRESS | BypassKind.NETWORK if rule.port is None:
            return rule.network
        case BypassKind.LOCAL if rule.port is None:
            return rule.subject
    return None


def values_of(text: str, keys: Sequence[str] = KEYS) -> dict[str, Value]:
    """Return the values of keys in the text of the file."""
    # The last entry of a key counts, for KConfig and for the other readers.
    found = {key: value for _, key, value in _entries(_lines(text), keys)}
    return {key: found.get(key) for key in keys}


def edited(text: str, changes: Mapping[str, Value]) -> str:
    """Return the text of the file with changed entries of the group.

    All other lines stay as they are. A new entry comes first in its group, a new group last in the
    file. A group whose last entry is removed is removed with its header.

    Args:
        text: The text of the file.
        changes: The new value of each key; None to remove the entry.
    """
    lines = _lines(text)
    for key, value in changes.items():
        found = [index for index, known, _ in _entries(lines) if known == key]
        if value is None:
            for index in reversed(found):
                _delete(lines, index)
        elif found:
            lines[found[-1]] = _with_value(lines[found[-1]], value)
        else:
            lines.insert(_start_of_group(lines), f"{key}{value}\n")
    return "".join(lines)


def _lines(text: str) -> list[str]:
    """Return the lines of a text, each with its line feed."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _entries(lines: Sequence[str], keys: Sequence[str] = KEYS) -> Iterator[tuple[int, str, str]]:
    """Return the index, key and value of each entry of the keys.

    Entries of languages, ``ProxyType[de]=1``, do not count.
    """
    for index in _in_group(lines):
        entry = _ENTRY.fullmatch(lines[index].rstrip("\r\n"))
        if entry and entry["key"] in keys and _OWN_OPTIONS.fullmatch(entry["value"]):
            yield index, entry["key"], entry["value"]


def _in_group(lines: Iterable[str]) -> Iterator[int]:
    """Yield the index of each line in the group `GROUP`, except for the header of the group."""
    is_inside = False
    for index, line in enumerate(lines):
        header = _HEADER.fullmatch(line)
        if header:
            is_inside = _is_group(header)
        elif is_inside:
            yield index


def _is_group(header: re.Match[str]) -> bool:
    # [Proxy Settings][More] is another group; [Proxy Settings][$i] is the group, locked.
    more = header["more"].strip()
    return header["name"] == GROUP and (not more.startswith("[") or more.startswith("[$"))


def _with_value(line: str, value: str) -> str:
    content = line.rstrip("\r\n")
    entry = _ENTRY.fullmatch(content)
    assert entry
    return f"{entry['before']}{value}{line[len(content) :]}"


def _start_of_group(lines: list[str]) -> int:
    """Return the index of the first line of the group `GROUP`; add its header if it is missing."""
    for index, line in enumerate(lines):
        header = _HEADER.fullmatch(line)
        if header and _is_group(header):
            lines[index] = line if line.endswith("\n") else f"{line}\n"
            return index + 1
    if lines:
        lines[-1] = lines[-1] if lines[-1].endswith("\n") else f"{lines[-1]}\n"
        lines.append("\n")
    lines.append(f"[{GROUP}]\n")
    return len(lines)


def _delete(lines: list[str], index: int) -> None:
    """Delete a line of the group `GROUP`; delete its header as well if the group is then empty."""
    del lines[index]
    start = index - 1
    while not _HEADER.fullmatch(lines[start]):
        if lines[start].strip():
            return
        start -= 1
    end = index
    while end < len(lines) and not lines[end].strip():
        end += 1
    if end < len(lines) and not _HEADER.fullmatch(lines[end]):
        return
    if end == len(lines) and start and not lines[start - 1].strip():
        start -= 1
    del lines[start:end]


def _has_locks(lines: Sequence[str]) -> bool:
    inside = set(_in_group(lines))
    for index, line in enumerate(lines):
        header = _HEADER.fullmatch(line)
        if header:
            # The line [$i] before all groups locks the whole file.
            is_ours = _is_group(header) or header["name"].startswith("$")
            if is_ours and _LOCKED.search(line):
                return True
        elif index in inside:
            entry = _ENTRY.fullmatch(line.rstrip("\r\n"))
            if entry and entry["key"] in KEYS and not _OWN_OPTIONS.fullmatch(entry["value"]):
                return True
    return False


def text_of(values: Values, key: str) -> str:
    """Return the value of a key as programs read it: without options and escapes."""
    text = (values.get(key) or "").partition("=")[2].strip()
    return text.replace("\\s", " ").replace("\\\\", "\\")


def _endpoint(values: Values, key: str) -> str:
    text = _SCHEME.sub("", text_of(values, key)).rstrip("/")
    return text.replace(" ", ":")
