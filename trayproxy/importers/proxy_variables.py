"""Proxies in environment variables, in the settings of npm, and in those of Git.

All three hold the URL of a proxy, which may contain a login. Sources: curl(1), "Environment";
npm-config(7); git-config(1), ``http.proxy``.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from trayproxy.importers.addresses import parse_proxy
from trayproxy.importers.bypass import import_bypass, split_entries
from trayproxy.importers.found import Found, FoundPassword, FoundProfile, Place, Source
from trayproxy.importers.logins import clear_password, scheme_choice
from trayproxy.importers.source_text import SourceText
from trayproxy.profiles.profile import ProfileError, Upstream
from trayproxy.recipes.formats.editors import read_value
from trayproxy.recipes.formats.setting import Format, UnreadableTextError

VARIABLES = ("https_proxy", "http_proxy", "all_proxy")
"""The names of the variables in lower case, the most important variable first."""

_NPM_PORT = 80
_GIT_PORT = 1080
"""libcurl's port of a proxy without a port (CURLOPT_PROXY(3))."""
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def from_environment(environ: Mapping[str, str], places: Mapping[str, Place]) -> Found:
    """Return the proxies of ``https_proxy``, ``http_proxy`` and ``all_proxy``, in any case.

    Args:
        environ: The environment.
        places: The places in which variables are set, by their names, as far as they are known.
    """
    values = [
        (places.get(name, Place(f"the variable {name}")), name, environ[name])
        for variable in VARIABLES
        for name in (variable, variable.upper())
        if environ.get(name)
    ]
    excluded = environ.get("no_proxy") or environ.get("NO_PROXY") or ""
    return _found(Source.ENVIRONMENT, values, excluded)


def parse_npmrc(source: SourceText, environ: Mapping[str, str]) -> Found:
    """Return the proxies of an ``.npmrc`` file.

    Args:
        source: The file.
        environ: The environment: ``${NAME}`` in a value stands for a variable.

    Raises:
        UnreadableSourceError: The file is not in the format of ``.npmrc``.
    """

    def value(key: str) -> str:
        try:
            text = str(read_value(Format.NPMRC, source.text, (key,)) or "")
        except UnreadableTextError as error:
            raise source.error(error.reason) from None
        return _VARIABLE.sub(lambda name: environ.get(name[1], name[0]), text)

    values = [
        (source.place_of(key), key, value(key))
        for key in ("https-proxy", "proxy")
        if value(key) not in ("", "null", "false")
    ]
    return _found(Source.NPM, values, value("noproxy"), _NPM_PORT)


def parse_git_config(source: SourceText) -> Found:
    """Return the proxy of a Git config file.

    Raises:
        UnreadableSourceError: The file is not in the format of Git.
    """
    try:
        url = str(read_value(Format.GIT, source.text, ("http", "proxy")) or "")
        method = str(read_value(Format.GIT, source.text, ("http", "proxyAuthMethod")) or "")
    except UnreadableTextError as error:
        raise source.error(error.reason) from None
    values = [(source.place_of("proxy"), "http.proxy", url)] if url else []
    found = _found(Source.GIT, values, "", _GIT_PORT)
    schemes = scheme_choice(method)
    profiles = (
        replace(profile, method=schemes.method).with_notes(*schemes.notes)
        for profile in found.profiles
    )
    return replace(found, profiles=tuple(profiles))


def _found(
    source: Source,
    values: Iterable[tuple[Place, str, str]],
    excluded: str,
    default_port: int | None = None,
) -> Found:
    """Return the profiles for the URLs of proxies, each proxy once.

    Args:
        source: The source.
        values: The place, the name and the text of each setting.
        excluded: The hosts without a proxy.
        default_port: The port of a URL without a port; None if there is none.
    """
    bypass = import_bypass(split_entries(excluded), covers_subdomains=True)
    profiles: dict[Upstream, FoundProfile] = {}
    passwords: list[FoundPassword] = []
    notes = []
    for place, name, text in values:
        try:
            address = parse_proxy(text, default_port)
        except ProfileError as error:
            notes.append(f"{place}: {name} was left out. {error}")
            continue
        password = clear_password(address.password, place, name)
        known = profiles.get(address.upstream)
        if known is not None and known.password is not None:
            # The same password usually stands in several variables.
            passwords += [password] if password else []
        elif known is None or password:
            profiles[address.upstream] = FoundProfile(
                source,
                place,
                (address.upstream,),
                user=address.user,
                bypass=bypass.rules,
                password=password,
                notes=bypass.notes,
            )
    return Found(tuple(profiles.values()), tuple(passwords), tuple(notes))
