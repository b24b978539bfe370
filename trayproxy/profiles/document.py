"""The text of ``config.toml``: parsed into a `Config`, and changed without losing comments.

Parsing uses `tomllib` from the standard library. `edit` and tomlkit are imported only for writing,
because the import takes longer than an entire short command. Keys unknown to this version are
preserved.
"""

import re
import tomllib
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from msgspec import ValidationError, convert

from trayproxy.profiles.config import (
    MAX_PROFILES,
    Config,
    Forward,
    ListenAddress,
    SystemProxyMode,
    SystemProxySettings,
)
from trayproxy.profiles.consistency import check_profile
from trayproxy.profiles.pac_address import parse_pac_source
from trayproxy.profiles.pac_source import PacSource
from trayproxy.profiles.profile import (
    DIRECT_ID,
    Encoding,
    Method,
    Profile,
    ProfileError,
    SignIn,
    Upstream,
)
from trayproxy.profiles.rules import check_rules
from trayproxy.profiles.validate import (
    check_ca_file,
    check_listen_host,
    check_name,
    check_port,
    check_proxy_pattern,
    check_rule,
    check_spn,
    check_system_user,
    check_use_on,
    check_user,
    parse_upstream,
)

SCHEMA = 1
"""The version of the format, raised when older versions of TrayProxy would misread the file."""

HEADER = f"""\
# The settings of TrayProxy. Passwords are not here: they are in the keyring.
schema = {SCHEMA}
active = ""
"""
"""The beginning of a new file."""

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")
V = TypeVar("V")

_TYPE_NAMES = {
    bool: "true or false",
    int: "a number",
    str: "a text",
    list: "a list",
    dict: "a table",
}
_HEADER_LINE = re.compile(r"\s*\[")
_REASON_LENGTH = 200
_TEXTS = re.compile(
    r'''"""(?:[^\\]|\\.)*?(?:"""|\Z)|'{3}.*?(?:'{3}|\Z)'''
    r"""|"(?:[^"\\\n]|\\.)*"?|'[^'\n]*'?|\#[^\n]*""",
    re.DOTALL,
)
"""Strings, including quoted parts of keys, and comments. An unterminated string extends to the end
of the text, so that the match takes linear time."""
_KEY_ENDS = re.compile(r"[=,\[\]{}]")
_KEY_PARTS = 16
"""The number of dots from which a key is refused. Known keys have at most three parts."""
_LONG_NUMBER = re.compile(r"[0-9_]{4300,}")
_LARGEST = 2**63
"""The limit of the integers guaranteed by TOML (v1.0.0, Integer)."""
_SECRET_KEYS = frozenset({"password", "passwd", "pass", "secret", "token"})


class InvalidSettingsError(Exception):
    """The text cannot be parsed as settings.

    Attributes:
        line: The line number, from 1; 0 if the error has no line.
        reason: The error as a clause without a full stop. It contains no value of the file.
    """

    def __init__(self, line: int, reason: str) -> None:
        super().__init__(f"line {line}: {reason}")
        self.line = line
        self.reason = reason


class NewerSchemaError(Exception):
    """The text has the schema of a newer version of TrayProxy."""

    def __init__(self, schema: int) -> None:
        super().__init__(f"schema {schema}")
        self.schema = schema


def parse_settings(text: str) -> Config:
    """Return the settings of the text; missing keys have the defaults of `Config`.

    Raises:
        InvalidSettingsError: The text is not valid TOML, or a key or value is invalid.
        NewerSchemaError: The text has a schema of a newer TrayProxy.
    """
    _check_keys(text)
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise _syntax_error(text, error) from None
    except ValueError:
        # Python refuses to read numbers of more than 4,300 digits (sys.set_int_max_str_digits).
        raise InvalidSettingsError(_line_of(text, _LONG_NUMBER), "a number is too long") from None
    except RecursionError:
        raise InvalidSettingsError(0, "it is nested too deeply") from None
    return _config(_Table(document, text.splitlines()))


def rewrite_settings(text: str, config: Config) -> str:
    """Return the text changed so that `parse_settings` returns these settings.

    Comments, order and unknown keys are preserved, except inside a removed profile.

    Args:
        text: A text accepted by `parse_settings`; empty for a new file.
        config: The new settings.

    Raises:
        InvalidSettingsError: The layout of the text cannot be changed safely.
    """
    # Not at the top: the import would double the time of `trayproxy status`.
    from trayproxy.profiles.edit import apply_settings

    text = text or HEADER
    changed = apply_settings(text if text.endswith("\n") else text + "\n", config, SCHEMA)
    try:
        if changed is not None and parse_settings(changed) == config:
            return changed
    except InvalidSettingsError:
        pass
    # tomlkit may change an unusual layout incorrectly: such a change is refused.
    raise InvalidSettingsError(0, "it has a layout that TrayProxy cannot change")


def _check_keys(text: str) -> None:
    """Refuse keys of many parts, which take tomllib quadratic time."""
    plain = _TEXTS.sub(lambda found: "\n" * found[0].count("\n"), text)
    for number, line in enumerate(plain.split("\n"), 1):
        if line.count(".") >= _KEY_PARTS and any(
            part.count(".") >= _KEY_PARTS for part in _KEY_ENDS.split(line)
        ):
            raise InvalidSettingsError(number, "a key has too many parts")


def _line_of(text: str, pattern: re.Pattern[str]) -> int:
    """Return the number of the first line with a match of the pattern; 0 without a match."""
    found = pattern.search(text)
    return text.count("\n", 0, found.start()) + 1 if found else 0


def _syntax_error(text: str, error: tomllib.TOMLDecodeError) -> InvalidSettingsError:
    # Before Python 3.14, only the message contains the position.
    message = str(error)
    found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    line = int(found[1]) if found and found[1] else text.count("\n") + 1
    # The message may contain a key from the file.
    reason = (message[: found.start()] if found else message)[:_REASON_LENGTH]
    return InvalidSettingsError(line, reason[:1].lower() + reason[1:])


class _Table:
    """A table of the file. It finds the lines of invalid values."""

    def __init__(
        self, values: Mapping[str, Any], lines: Sequence[str], header: tuple[str, int] | None = None
    ) -> None:
        """Wrap the keys and values of a table in the lines of its file.

        `header` is the name of the table and the number of tables of this name before it, None for
        the top-level table.
        """
        self._values = values
        self._lines = lines
        self._header = header

    def names(self) -> Iterable[str]:
        return self._values

    def get(self, key: str, kind: type[T], default: T | None = None) -> T:
        value = self._values.get(key, default)
        if value is None:
            raise self.error("", f"{key} is missing")
        try:
            value = convert(value, kind)
        except ValidationError:
            raise self.error(key, f"{key} is {_TYPE_NAMES[kind]}") from None
        if isinstance(value, int) and not -_LARGEST <= value < _LARGEST:
            raise self.error(key, f"{key} is too large a number")
        return value

    def choice(self, key: str, default: E) -> E:
        choices = type(default)
        try:
            return convert(self.get(key, str, str(default)), choices)
        except ValidationError:
            raise self.error(key, f"{key} is {' or '.join(choices)}") from None

    def check(self, key: str, check: Callable[[V], T], value: V) -> T:
        try:
            return check(value)
        except ProfileError as error:
            raise self.error(key, str(error).rstrip(".")) from None

    def table(self, key: str) -> "_Table":
        return _Table(self.get(key, dict, {}), self._lines, (key, 0))

    def tables(self, key: str) -> "Iterable[_Table]":
        if isinstance(self._values.get(key), dict):
            raise _Table({}, self._lines, (key, 0)).error("", f"write [[{key}]] in double brackets")
        for index, values in enumerate(self.get(key, list, [])):
            if not isinstance(values, dict):
                raise self.error(key, f"{key} is a list of tables")
            yield _Table(values, self._lines, (key, index))

    def error(self, key: str, reason: str) -> InvalidSettingsError:
        """Return the error with the line of the key, otherwise of the table, otherwise line 1.

        tomllib reports no positions, so the line is found by its usual layout. The line is used for
        messages only.
        """
        start = self._first_line()
        for number in range(start, len(self._lines)):
            line = self._lines[number]
            if number > start and _HEADER_LINE.match(line):
                break
            if key and re.match(rf"\s*[\"']?{re.escape(key)}[\"']?\s*=", line):
                return InvalidSettingsError(number + 1, reason)
        return InvalidSettingsError(start + 1, reason)

    def _first_line(self) -> int:
        if self._header is None:
            return 0
        key, index = self._header
        pattern = re.compile(rf"\s*\[+\s*{key}\s*\]+")
        found = [number for number, line in enumerate(self._lines) if pattern.match(line)]
        return found[index] if index < len(found) else 0


def _config(document: _Table) -> Config:
    schema = document.get("schema", int, SCHEMA)
    if schema > SCHEMA:
        raise NewerSchemaError(schema)
    if schema < 1:
        raise document.error("schema", f"schema is {SCHEMA}")
    listen = _listen(document.table("listen"))
    profiles = _profiles(document)
    active = document.get("active", str, "")
    if active not in {"", DIRECT_ID, *(profile.id for profile in profiles)}:
        raise document.error("active", f"active is not the id of a profile, nor {DIRECT_ID}")
    previous = document.get("previous", str, "")
    if active != DIRECT_ID or previous not in {profile.id for profile in profiles}:
        previous = ""  # The user may have removed the profile from the file.
    return Config(
        listen,
        active,
        profiles,
        _system_proxy(document.table("system-proxy")),
        previous,
        _forwards(document, listen),
    )


def _profiles(document: _Table) -> tuple[Profile, ...]:
    profiles: dict[str, Profile] = {}
    names: set[str] = set()
    for table in document.tables("profiles"):
        if len(profiles) == MAX_PROFILES:
            raise table.error("", f"there are more than {MAX_PROFILES} profiles")
        profile = _profile(table)
        if profile.id in profiles:
            raise table.error("id", "two profiles have this id")
        if profile.name.casefold() in names:
            raise table.error("name", f"There is already a profile “{profile.name}”")
        profiles[profile.id] = profile
        names.add(profile.name.casefold())
    return tuple(profiles.values())


def _listen(table: _Table) -> ListenAddress:
    host = table.get("host", str, ListenAddress().host)
    port = table.get("port", int, ListenAddress().port)
    devices = table.check("devices", _devices, table.get("devices", list, []))
    return ListenAddress(
        table.check("host", lambda text: _listen_host(text, devices), host),
        table.check("port", lambda number: check_port(number, lowest=0), port),
        table.check("allow_users", _system_users, table.get("allow_users", list, [])),
        devices,
        table.get("devices_password", bool, False),
        table.get("containers", bool, False),
    )


def _devices(texts: list[Any]) -> tuple[str, ...]:
    if not texts:
        return ()
    # Here, as in the following functions, since most settings have no further listeners.
    from trayproxy.profiles.listener_checks import check_devices

    return check_devices(_texts("devices", texts))


def _listen_host(text: str, devices: tuple[str, ...]) -> str:
    try:
        return check_listen_host(text)
    except ProfileError:
        from trayproxy.profiles.listener_checks import check_reachable_host

        return check_reachable_host(text, devices)


def _forwards(document: _Table, listen: ListenAddress) -> tuple[Forward, ...]:
    found: tuple[Forward, ...] = ()
    for table in document.tables("forward"):
        from trayproxy.profiles.listener_checks import (
            check_forwards,
            parse_forward_listen,
            parse_forward_target,
        )

        listens, to = table.get("listen", str), table.get("to", str)
        host, port = table.check(
            "listen", lambda text: parse_forward_listen(text, listen.devices), listens
        )
        forward = Forward(host, port, *table.check("to", parse_forward_target, to))
        found = table.check("listen", lambda more: check_forwards(more, listen), (*found, forward))
    return found


def _system_proxy(table: _Table) -> SystemProxySettings:
    default = SystemProxySettings()
    return SystemProxySettings(
        table.get("use", bool, default.use),
        table.choice("mode", SystemProxyMode.ADDRESS),
        table.get("restore_on_quit", bool, default.restore_on_quit),
    )


def _profile(table: _Table) -> Profile:
    for key in table.names():
        if key.lower() in _SECRET_KEYS:
            raise table.error(key, "passwords are not kept here; use trayproxy login")
    sign_in = table.choice("sign_in", SignIn.PASSWORD)
    method = table.choice("method", Method.AUTOMATIC)
    profile = Profile(
        id=table.get("id", str),
        name=table.get("name", str),
        upstream=_upstream(table),
        sign_in=sign_in,
        user=table.get("user", str, ""),
        bypass=table.check("bypass", _rules, table.get("bypass", list, [])),
        fallbacks=table.check("fallbacks", _upstreams, table.get("fallbacks", list, [])),
        ca_file=_path(table, "ca_file"),
        method=method,
        encoding=table.choice("encoding", Encoding.UTF_8),
        spn=table.check("spn", check_spn, table.get("spn", str, "")),
        canonical_name=table.get("canonical_name", bool, False),
        get_ticket=table.get("get_ticket", bool, False),
        client_certificate=_path(table, "client_certificate"),
        client_key=_path(table, "client_key"),
        pac=table.check("pac", _pac_source, table.get("pac", str, "")),
        shared_sign_in=table.check(
            "shared_sign_in", _proxy_patterns, table.get("shared_sign_in", list, [])
        ),
        rules=table.check("rules", _routing_rules, table.get("rules", list, [])),
        use_on=table.check("use_on", _conditions, table.get("use_on", list, [])),
        else_direct=table.get("else_direct", bool, False),
    )
    table.check("name", check_name, profile.name)
    table.check("user", check_user, profile.user)
    return table.check("id", check_profile, profile)


def _path(table: _Table, key: str) -> str:
    return table.check(key, check_ca_file, table.get(key, str, ""))


def _system_users(users: list[Any]) -> tuple[str, ...]:
    try:
        checked = convert(users, list[str | int])
    except ValidationError:
        raise ProfileError("allow_users is a list of names and numbers") from None
    return tuple(check_system_user(str(user)) for user in checked)


def _rules(texts: list[Any]) -> tuple[str, ...]:
    return tuple(map(check_rule, _texts("bypass", texts)))


def _upstream(table: _Table) -> Upstream | None:
    text = table.get("upstream", str, "" if "pac" in table.names() else None)
    return table.check("upstream", parse_upstream, text) if text else None


def _pac_source(text: str) -> PacSource | None:
    return parse_pac_source(text) if text else None


def _proxy_patterns(texts: list[Any]) -> tuple[str, ...]:
    return tuple(map(check_proxy_pattern, _texts("shared_sign_in", texts)))


def _routing_rules(texts: list[Any]) -> tuple[str, ...]:
    return tuple(map(str, check_rules(_texts("rules", texts))))


def _upstreams(texts: list[Any]) -> tuple[Upstream, ...]:
    return tuple(map(parse_upstream, _texts("fallbacks", texts)))


def _conditions(texts: list[Any]) -> tuple[str, ...]:
    return check_use_on(_texts("use_on", texts))


def _texts(key: str, values: list[Any]) -> list[str]:
    try:
        return convert(values, list[str])
    except ValidationError:
        raise ProfileError(f"{key} is a list of texts") from None
