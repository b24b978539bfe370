r"""The settings of Winfoom: ``config/proxy.properties``, or the JSON of ``foomcli config``.

Source: ``ProxyConfig.java`` and the README of Winfoom 5. Winfoom keeps the passwords in Base64, as
``encoded(cGFzc3dvcmQ=)``, for each kind of proxy.
"""

import binascii
import json
from base64 import b64decode
from collections.abc import Callable, Mapping

from trayproxy.importers.addresses import pac_source, port_number, proxy_list
from trayproxy.importers.found import Found, FoundPassword, FoundProfile, SecretForm, Source
from trayproxy.importers.logins import clear_password, full_user_name, scheme_choice
from trayproxy.importers.source_text import SourceText
from trayproxy.profiles.profile import SignIn
from trayproxy.recipes.formats.editors import read_value
from trayproxy.recipes.formats.setting import Format, UnreadableTextError

_MASK = "***"
"""The text in place of a password in the output of ``foomcli config``."""
_KINDS = ("http", "socks5", "pac")
_PREFIX = "encoded("


def parse_properties(source: SourceText, *, has_own_sign_in: bool) -> Found:
    """Return the settings of ``proxy.properties``.

    Args:
        source: The file.
        has_own_sign_in: True on Windows, where Winfoom signs in with the user's log-on by default.

    Raises:
        UnreadableSourceError: The file is not in the format of Java properties.
    """

    def value(key: str) -> str:
        try:
            return str(read_value(Format.PROPERTIES, source.text, (key,)) or "").strip()
        except UnreadableTextError as error:
            raise source.error(error.reason) from None

    kind = value("proxy.type").lower()
    by_kind = {
        found: _decoded(value(f"proxy.{found}.password"), source, f"proxy.{found}.password")
        for found in _KINDS
    }
    is_own = has_own_sign_in and value("proxy.http.win.useCurrentCredentials").lower() != "false"

    def setting(name: str) -> str:
        names = {"host": "host", "port": "port", "user": "username", "pac": "fileLocation"}
        if name == "auth":
            return value("pac.http.auth.protocol" if kind == "pac" else "http.auth.protocol")
        return value("local.port" if name == "local" else f"proxy.{kind}.{names[name]}")

    others = tuple(password for found, password in by_kind.items() if password and found != kind)
    return _found(source, kind, setting, by_kind.get(kind), is_own) + Found(passwords=others)


def parse_json(source: SourceText, *, has_own_sign_in: bool) -> Found:
    """Return the settings of the output of ``foomcli config``; see `parse_properties`.

    Raises:
        UnreadableSourceError: The file is not a JSON object.
    """
    try:
        values = json.loads(source.text)
    except json.JSONDecodeError as error:
        raise source.error("it is not JSON", error.lineno) from None
    except (ValueError, RecursionError):
        raise source.error("it is nested too deeply, or has too long a number") from None
    if not isinstance(values, Mapping):
        raise source.error("it is not a JSON object")
    names = {
        "host": "proxyHost",
        "port": "proxyPort",
        "user": "proxyUsername",
        "pac": "proxyPacFileLocation",
        "local": "localPort",
    }

    def value(key: str) -> str:
        found = values.get(key)
        return str(found).strip() if isinstance(found, str | int) else ""

    kind = value("proxyType").lower()

    def setting(name: str) -> str:
        if name == "auth":
            return value("pacHttpAuthProtocol" if kind == "pac" else "httpAuthProtocol")
        return value(names[name])

    secret = value("proxyPassword")
    place = source.place_of("proxyPassword")
    password = clear_password("" if secret == _MASK else secret, place, "proxyPassword")
    is_own = has_own_sign_in and values.get("useCurrentCredentials", True) is not False
    return _found(source, kind, setting, password, is_own)


def _found(
    source: SourceText,
    kind: str,
    setting: Callable[[str], str],
    password: FoundPassword | None,
    is_own_sign_in: bool,
) -> Found:
    if kind not in _KINDS:
        why = "connects directly" if kind in ("", "direct") else f"uses {kind[:20].upper()}"
        return Found(notes=(f"{source.name}: Winfoom {why}, which makes no profile.",))
    scheme = "socks5://" if kind == "socks5" else ""
    pac = pac_source(setting("pac") if kind == "pac" else "")
    host = f"{scheme}{setting('host')}:{setting('port')}" if kind != "pac" else ""
    proxies = proxy_list(filter(None, (host,)))
    if not proxies.upstreams and pac.source is None:
        nothing = f"{source.name} names no proxy."
        return Found(notes=(*proxies.notes, *pac.notes, nothing))
    user = full_user_name("", setting("user"))
    schemes = scheme_choice(setting("auth") if kind != "socks5" else "")
    is_own_sign_in = is_own_sign_in and not user and kind != "socks5"
    profile = FoundProfile(
        Source.WINFOOM,
        source.place(),
        proxies.upstreams,
        pac.source,
        user,
        sign_in=SignIn.SSO if is_own_sign_in else SignIn.PASSWORD,
        method=schemes.method,
        password=password if user else None,
        listens_at=f"127.0.0.1:{port_number(setting('local')) or 3129}",
        notes=(*proxies.notes, *schemes.notes),
    )
    return Found((profile,))


def _decoded(text: str, source: SourceText, key: str) -> FoundPassword | None:
    place = source.place_of(key.replace(".", r"\."))
    if not text.startswith(_PREFIX):
        return clear_password(text, place, key)
    try:
        secret = b64decode(text[len(_PREFIX) : -1], validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None
    return FoundPassword(SecretForm.BASE64, place, secret, key) if secret else None
