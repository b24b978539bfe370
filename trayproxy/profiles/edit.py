"""Changes to the text of ``config.toml``, by tomlkit.

tomlkit hangs comments that stand above a table at the end of the table before. Left to itself it
puts a new key below those comments, and drops them with the table they do not belong to. So new
keys are put next to the last key, and such comments are handed on. Both is done on the parsed body,
whose index is stale afterwards: look up first, insert last.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import tomlkit
from tomlkit.container import Container
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, Comment, Item, Key, SingleKey, Table

from trayproxy.profiles.config import Config, ListenAddress
from trayproxy.profiles.profile import Encoding, Method, Profile, SignIn
from trayproxy.profiles.validate import parse_upstream

_Body = list[tuple[Key | None, Item]]

_OPTIONAL_KEYS = frozenset({"fallbacks", "ca_file", "method", "encoding"})
"""Keys that a new profile shows only if they say something; the others invite to be filled in."""


def apply_settings(text: str, config: Config, schema: int) -> str | None:
    """Return the text with these settings, None if its layout is beyond this.

    The caller checks the outcome by reading it.

    Args:
        text: TOML that ends with a line feed.
        config: The settings wanted.
        schema: What a text without one gets.
    """
    try:
        document = tomlkit.parse(text)
        detached = _change_profiles(document, config.profiles)
        _change_listen(document, config.listen)
        changes = {"active": (config.active, "")}
        _change_keys(document, {"schema": (document.get("schema", schema), None), **changes})
        _insert_above_profiles(document.body, detached)
        return document.as_string()
    except (TOMLKitError, ValueError, TypeError, AttributeError, LookupError):
        # What tomlkit raises on layouts that it can read and not change is not documented.
        return None


def _change_listen(document: tomlkit.TOMLDocument, listen: ListenAddress) -> None:
    default = ListenAddress()
    if "listen" not in document:
        if listen == default:
            return
        # Before the profiles it would take over the comments above the first one.
        document.append("listen", tomlkit.table())
    table = document["listen"]
    changes = {
        "host": (listen.host, default.host),
        "port": (listen.port, default.port),
        "allow_users": (list(listen.allow_users), []),
    }
    _change_keys(_container(table), changes)


def _change_profiles(document: tomlkit.TOMLDocument, profiles: Iterable[Profile]) -> _Body:
    """Change, add and remove profiles; return comments that now stand above all of them."""
    wanted = {profile.id: profile for profile in profiles}
    if "profiles" not in document:
        if not wanted:
            return []
        document.add(tomlkit.nl())
        document.append("profiles", tomlkit.aot())
    array = document["profiles"]
    if not isinstance(array, AoT):
        raise TypeError("the profiles are not [[profiles]]")
    detached = _remove(array, wanted)
    known = {str(table["id"]): table for table in array.body}
    for profile_id, profile in wanted.items():
        if profile_id in known:
            _change_keys(known[profile_id].value, _keys(profile))
        else:
            _add(array, profile)
    order = list(wanted)
    array.body.sort(key=lambda table: order.index(str(table["id"])))
    return detached


def _remove(array: AoT, wanted: Mapping[str, Profile]) -> _Body:
    detached: _Body = []
    kept: list[Table] = []
    for table in array.body:
        if str(table["id"]) in wanted:
            kept.append(table)
            continue
        above = kept[-1].value.body if kept else detached
        above.extend(_trailing_comments(table.value.body))
    array.body[:] = kept
    return detached


def _add(array: AoT, profile: Profile) -> None:
    table = tomlkit.table()
    for key, (value, default) in {"id": (profile.id, None), **_keys(profile)}.items():
        if key not in _OPTIONAL_KEYS or value != default:
            table.append(key, value)
    array.append(table)


def _keys(profile: Profile) -> dict[str, tuple[Any, Any]]:
    """Return each key with its value and with what it means to leave it out."""
    return {
        "name": (profile.name, None),
        "upstream": (str(profile.upstream), None),
        "sign_in": (str(profile.sign_in), str(SignIn.PASSWORD)),
        "user": (profile.user, ""),
        "bypass": (list(profile.bypass), []),
        "fallbacks": (list(map(str, profile.fallbacks)), []),
        "ca_file": (profile.ca_file, ""),
        "method": (str(profile.method), str(Method.AUTOMATIC)),
        "encoding": (str(profile.encoding), str(Encoding.UTF_8)),
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
    """Return whether what stands there may stay, however the person has written it."""
    if key == "upstream" and isinstance(old, str) and isinstance(value, str):
        return parse_upstream(old) == parse_upstream(value)
    if key == "allow_users" and isinstance(old, list):
        return [str(user).strip() for user in old] == value
    if key == "fallbacks" and isinstance(old, list) and isinstance(value, list):
        return list(map(parse_upstream, old)) == list(map(parse_upstream, value))
    return old == value


def _insertion_index(body: _Body) -> int:
    """Return where a new key goes: below the last one, above tables and what belongs to them."""
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


def _insert_above_profiles(body: _Body, detached: _Body) -> None:
    """Put comments above the first profile, or in place of the last one that went."""
    for index, (key, item) in enumerate(body):
        if key is not None and key.key == "profiles":
            # An empty array of tables would be written as `profiles = []`, above everything.
            body[index : index + 1] = detached if not item else [*detached, (key, item)]
            return


def _container(table: object) -> Container:
    if not isinstance(table, Table):
        raise TypeError("not a table")
    return table.value
