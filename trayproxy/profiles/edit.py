"""Changes to the text of ``config.toml`` with tomlkit.

tomlkit attaches the comments above a table to the end of the previous table. Without correction it
would insert new keys below those comments, and delete the comments together with the previous
table. Therefore new keys are inserted after the last key, and the comments of a deleted table are
moved. Both operate on the parsed body and leave its index out of date: all look-ups must precede
the insertions.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import tomlkit
from tomlkit.container import Container
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, Comment, Item, Key, SingleKey, Table

from trayproxy.profiles.config import Config, Forward, ListenAddress, SystemProxySettings
from trayproxy.profiles.listener_checks import (
    check_device,
    parse_forward_listen,
    parse_forward_target,
)
from trayproxy.profiles.pac_address import parse_pac_source
from trayproxy.profiles.profile import Encoding, Method, Profile, SignIn, Upstream
from trayproxy.profiles.rules import check_rules
from trayproxy.profiles.validate import check_use_on, parse_upstream

_Body = list[tuple[Key | None, Item]]

_ALWAYS_WRITTEN = frozenset({"id", "name", "sign_in", "user", "bypass"})
"""Keys written for every new profile, for the user to fill in. The other keys are written only with
a value other than the default."""


def apply_settings(text: str, config: Config, schema: int) -> str | None:
    """Return the text with these settings, or None if its layout is not supported.

    The caller must check the result by parsing it.

    Args:
        text: TOML with a line feed at the end.
        config: The new settings.
        schema: The schema for a text without a schema.
    """
    try:
        document = tomlkit.parse(text)
        profiles = _change_profiles(document, config.profiles)
        forwards = _change_forwards(document, config.forwards)
        _change_listen(document, config.listen)
        _change_system_proxy(document, config.system_proxy)
        schema = document.get("schema", schema)
        keys = {
            "schema": (schema, None),
            "active": (config.active, ""),
            "previous": (config.previous, ""),
        }
        _change_keys(document, keys)
        _insert_above(document.body, "profiles", profiles)
        _insert_above(document.body, "forward", forwards)
        return document.as_string()
    except (TOMLKitError, ValueError, TypeError, AttributeError, LookupError):
        # The exceptions of tomlkit for layouts it can parse but not change are not documented.
        return None


def _change_listen(document: tomlkit.TOMLDocument, listen: ListenAddress) -> None:
    default = ListenAddress()
    changes = {
        "host": (listen.host, default.host),
        "port": (listen.port, default.port),
        "allow_users": (list(listen.allow_users), []),
        "devices": (list(listen.devices), []),
        "devices_password": (listen.devices_password, default.devices_password),
        "containers": (listen.containers, default.containers),
    }
    _change_table(document, "listen", changes)


def _change_system_proxy(document: tomlkit.TOMLDocument, settings: SystemProxySettings) -> None:
    default = SystemProxySettings()
    changes = {
        "use": (settings.use, default.use),
        "mode": (str(settings.mode), str(default.mode)),
        "restore_on_quit": (settings.restore_on_quit, default.restore_on_quit),
    }
    _change_table(document, "system-proxy", changes)


def _change_forwards(document: tomlkit.TOMLDocument, forwards: Iterable[Forward]) -> _Body:
    """Change, add and remove forwards; return comments that are now above the first forward."""
    wanted = {forward.address: forward for forward in forwards}
    array = _array(document, "forward", is_needed=bool(wanted))
    if array is None:
        return []
    detached = _remove(array, lambda table: _listens_at(table) in wanted)
    known = {_listens_at(table): table for table in array.body}
    for address, forward in wanted.items():
        if address not in known:
            added = tomlkit.table()
            added.append("listen", forward.address)
            added.append("to", forward.target)
            array.append(added)
        elif parse_forward_target(str(known[address]["to"])) != forward.target_address:
            known[address].value["to"] = forward.target
    order = list(wanted)
    array.body.sort(key=lambda table: order.index(_listens_at(table)))
    return detached


def _listens_at(table: Table) -> str:
    host, port = parse_forward_listen(str(table["listen"]), ("any",))
    return Forward(host, port, "", 0).address


def _change_table(
    document: tomlkit.TOMLDocument, name: str, changes: Mapping[str, tuple[Any, Any]]
) -> None:
    """Change a table; add it if it is missing and a value is not the default."""
    if name not in document:
        if all(value == default for value, default in changes.values()):
            return
        # Before the profiles, the table would take over the comments above the first profile.
        document.append(name, tomlkit.table())
    _change_keys(_container(document[name]), changes)


def _change_profiles(document: tomlkit.TOMLDocument, profiles: Iterable[Profile]) -> _Body:
    """Change, add and remove profiles; return comments that are now above the first profile."""
    wanted = {profile.id: profile for profile in profiles}
    array = _array(document, "profiles", is_needed=bool(wanted))
    if array is None:
        return []
    detached = _remove(array, lambda table: str(table["id"]) in wanted)
    known = {str(table["id"]): table for table in array.body}
    for profile_id, profile in wanted.items():
        if profile_id in known:
            _change_keys(known[profile_id].value, _keys(profile))
        else:
            _add(array, profile)
    order = list(wanted)
    array.body.sort(key=lambda table: order.index(str(table["id"])))
    return detached


def _array(document: tomlkit.TOMLDocument, name: str, *, is_needed: bool) -> AoT | None:
    """Return an array of tables, which is added if it is missing and needed; None without one."""
    if name not in document:
        if not is_needed:
            return None
        document.add(tomlkit.nl())
        document.append(name, tomlkit.aot())
    array = document[name]
    if not isinstance(array, AoT):
        raise TypeError(f"{name} is not an array of tables")
    return array


def _remove(array: AoT, is_wanted: Callable[[Table], bool]) -> _Body:
    detached: _Body = []
    kept: list[Table] = []
    for table in array.body:
        if is_wanted(table):
            kept.append(table)
            continue
        above = kept[-1].value.body if kept else detached
        above.extend(_trailing_comments(table.value.body))
    array.body[:] = kept
    return detached


def _add(array: AoT, profile: Profile) -> None:
    table = tomlkit.table()
    for key, (value, default) in {"id": (profile.id, None), **_keys(profile)}.items():
        if key in _ALWAYS_WRITTEN or value != default:
            table.append(key, value)
    array.append(table)


def _keys(profile: Profile) -> dict[str, tuple[Any, Any]]:
    """Return the keys of a profile's table, each with its value and its default."""
    return {
        "name": (profile.name, None),
        "upstream": (str(profile.upstream) if profile.upstream is not None else "", ""),
        "pac": (str(profile.pac) if profile.pac is not None else "", ""),
        "shared_sign_in": (list(profile.shared_sign_in), []),
        "sign_in": (str(profile.sign_in), str(SignIn.PASSWORD)),
        "user": (profile.user, ""),
        "bypass": (list(profile.bypass), []),
        "fallbacks": (list(map(str, profile.fallbacks)), []),
        "ca_file": (profile.ca_file, ""),
        "method": (str(profile.method), str(Method.AUTOMATIC)),
        "encoding": (str(profile.encoding), str(Encoding.UTF_8)),
        "spn": (profile.spn, ""),
        "canonical_name": (profile.canonical_name, False),
        "get_ticket": (profile.get_ticket, False),
        "client_certificate": (profile.client_certificate, ""),
        "client_key": (profile.client_key, ""),
        "rules": (list(profile.rules), []),
        "use_on": (list(profile.use_on), []),
        "else_direct": (profile.else_direct, False),
    }


def _change_keys(container: Container, changes: Mapping[str, tuple[Any, Any]]) -> None:
    missing: _Body = []
    for key, (value, default) in changes.items():
        if key not in container:
            if value != default:
                missing.append((SingleKey(key), tomlkit.item(value)))
        elif not _is_equal(key, container[key], value):
            container[key] = value
    at = _insertion_index(container.body)
    container.body[at:at] = missing


def _is_equal(key: str, old: object, value: object) -> bool:
    """Return whether the existing value means the same as the new value, in any notation."""
    if key == "upstream" and isinstance(old, str) and isinstance(value, str) and old and value:
        return parse_upstream(old) == parse_upstream(value)
    if key == "pac" and isinstance(old, str) and old:
        return str(parse_pac_source(old)) == value
    if key == "allow_users" and isinstance(old, list):
        return [str(user).strip() for user in old] == value
    if key == "devices" and isinstance(old, list):
        return [check_device(str(device)) for device in old] == value
    if key == "fallbacks" and isinstance(old, list) and isinstance(value, list):
        return list(map(parse_upstream, old)) == list(map(parse_upstream, value))
    if key == "rules" and isinstance(old, list):
        return list(map(str, check_rules(old))) == value
    if key == "use_on" and isinstance(old, list):
        return list(check_use_on(old)) == value
    return old == value


def _insertion_index(body: _Body) -> int:
    """Return the index for a new key: after the last key, before tables and their comments."""
    at = 0
    for index, (key, item) in enumerate(body):
        if isinstance(item, Table | AoT):
            break
        if key is not None:
            at = index + 1
    return at


def _trailing_comments(body: _Body) -> _Body:
    """Return the comments below the last key, with the blank lines between them."""
    at = max((n for n, (key, _) in enumerate(body) if key is not None), default=-1)
    tail = body[at + 1 :]
    return tail if any(isinstance(item, Comment) for _, item in tail) else []


def _insert_above(body: _Body, name: str, detached: _Body) -> None:
    """Insert comments above the first table of an array, or in place of its last removed table."""
    for index, (key, item) in enumerate(body):
        if key is not None and key.key == name:
            # An empty array of tables would be written as `profiles = []` at the top of the file.
            body[index : index + 1] = detached if not item else [*detached, (key, item)]
            return


def _container(table: object) -> Container:
    if not isinstance(table, Table):
        raise TypeError("not a table")
    return table.value


def profile_keys() -> frozenset[str]:
    """Return the names of all keys of a profile in the settings file."""
    return frozenset({"id", *_keys(Profile("x", "x", Upstream("x", 1)))})
