"""Recognise the format of a file by its content."""

import re
from collections.abc import Callable

from trayproxy.importers import (
    alpaca,
    cntlm,
    exported,
    proxy_variables,
    proxydetox,
    px,
    winfoom,
)
from trayproxy.importers.addresses import pac_source, parse_proxy
from trayproxy.importers.assignments import Assignment, assignments
from trayproxy.importers.found import Found, FoundProfile, Place, Source, UnreadableSourceError
from trayproxy.importers.logins import clear_password
from trayproxy.importers.service_definitions import (
    ServiceCommand,
    launchd_command,
    systemd_command,
)
from trayproxy.importers.source_text import SourceText
from trayproxy.profiles.pac_address import looks_like_pac
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import ProfileError

_CNTLM = re.compile(
    rf"^[ \t]*(?:{'|'.join(sorted(cntlm.KEYS))})[ \t]+[^\s=:]", re.IGNORECASE | re.MULTILINE
)
_CNTLM_NEEDED = re.compile(r"^[ \t]*(?:proxy|username|pac)[ \t]", re.IGNORECASE | re.MULTILINE)
_NPMRC = re.compile(r"^[ \t]*(?:https-)?proxy[ \t]*=", re.MULTILINE)
_GIT = re.compile(r'^[ \t]*\[(?:http|user|core|remote "[^"\n]*")\]', re.IGNORECASE | re.MULTILINE)
_PX = re.compile(r"^\[proxy\]", re.IGNORECASE | re.MULTILINE)
_VARIABLES = frozenset(
    {*proxy_variables.VARIABLES, "no_proxy", "basic_credentials", "ntlm_credentials"}
)


def recognise(source: SourceText, has_own_sign_in: bool) -> Found:
    """Return the settings of a file of any known format.

    The file may be from a stranger: the environment has no influence on its meaning.

    Args:
        source: The file.
        has_own_sign_in: True on Windows, where programs sign in with the user's log-on.

    Raises:
        UnreadableSourceError: The format is not known, or the file has an error.
    """
    text = source.text
    stripped = text.strip()
    if "FindProxyForURL" in text:
        pac = PacSource(PacKind.FILE, source.name)
        return Found((FoundProfile(Source.FILE, source.place(), pac=pac),))
    if stripped and "\n" not in stripped and (address := _address(stripped, source.place())):
        return address
    for is_format, parse in _FORMATS:
        if is_format(text):
            return parse(source, has_own_sign_in)
    raise source.error(
        "this is none of the known formats: Px, Cntlm, Winfoom, Alpaca, Proxydetox, npm, Git, "
        "environment variables, a PAC file, profiles of TrayProxy"
    )


def from_address(text: str) -> Found | None:
    """Return the settings for an argument that is the address of a proxy or of a PAC script, None
    for another text.

    Raises:
        UnreadableSourceError: The address contains a password.
    """
    place = Place("the command line")
    found = _address(text, place)
    if found is not None and any(profile.password for profile in found.profiles):
        raise UnreadableSourceError(
            place, "leave the password out: every program on this computer can read it here"
        )
    return found


def _address(text: str, place: Place) -> Found | None:
    scheme, mark, _ = text.partition("://")
    if re.search(r"\s", text) or "=" in scheme or text.startswith("-"):
        return None
    # Without a scheme, the text is rather a path.
    if mark and looks_like_pac(text):
        pac = pac_source(text)
        return Found((FoundProfile(Source.FILE, place, pac=pac.source, notes=pac.notes),))
    try:
        proxy = parse_proxy(text)
    except ProfileError:
        return None
    password = clear_password(proxy.password, place)
    return Found(
        (FoundProfile(Source.FILE, place, (proxy.upstream,), user=proxy.user, password=password),)
    )


def from_command(command: ServiceCommand, place: Place, has_own_sign_in: bool) -> Found:
    """Return the settings of a command line; none for an unknown program."""
    arguments = command.words[1:]
    match command.program:
        case "alpaca":
            places = dict.fromkeys(command.environ, place)
            return alpaca.from_arguments(arguments, place, command.environ) + alpaca.from_variables(
                command.environ, places
            )
        case "px":
            return px.from_arguments(
                arguments,
                place,
                command.environ,
                has_own_sign_in=has_own_sign_in,
            )
        case "proxydetox":
            return proxydetox.from_arguments(arguments, place)
    return Found()


def _service(source: SourceText, has_own_sign_in: bool) -> Found:
    is_plist = "<plist" in source.text
    command = launchd_command(source) if is_plist else systemd_command(source)
    found = from_command(command, source.place(), has_own_sign_in)
    if found == Found():
        raise source.error("it starts none of the known programs Alpaca, Px and Proxydetox")
    return found


def _shell(source: SourceText, has_own_sign_in: bool) -> Found:
    found = {each.name: each for each in assignments(source)}
    values = {name: each.value for name, each in found.items()}
    places = {name: each.place for name, each in found.items()}
    return proxy_variables.from_environment(values, places) + alpaca.from_variables(values, places)


def _is_shell(text: str) -> bool:
    def is_known(each: Assignment) -> bool:
        return each.name.lower() in _VARIABLES

    return any(map(is_known, assignments(SourceText("", text))))


def _is_service(text: str) -> bool:
    return "<plist" in text or "[Service]" in text


def _winfoom_json(source: SourceText, has_own_sign_in: bool) -> Found:
    found = winfoom.parse_json(source, has_own_sign_in=has_own_sign_in)
    if '"proxyType"' not in source.text:
        raise source.error("this JSON is none of Winfoom: it has no “proxyType”")
    return found


_FORMATS: tuple[tuple[Callable[[str], object], Callable[[SourceText, bool], Found]], ...] = (
    (
        lambda text: re.search(r"^\[\[profiles\]\]", text, re.MULTILINE),
        lambda source, _: exported.parse(source),
    ),
    (lambda text: text.lstrip().startswith("{"), _winfoom_json),
    (_is_service, _service),
    (
        _PX.search,
        lambda source, has_own: px.parse(source, {}, has_own_sign_in=has_own),
    ),
    (_GIT.search, lambda source, _: proxy_variables.parse_git_config(source)),
    (
        lambda text: re.search(r"^[ \t]*proxy\.type[ \t]*[=:]", text, re.MULTILINE),
        lambda source, has_own: winfoom.parse_properties(source, has_own_sign_in=has_own),
    ),
    (
        lambda text: re.search(r"^[ \t]*--?(?:pac-file|negotiate|listen|netrc-file)\b", text, re.M),
        lambda source, _: proxydetox.parse(source),
    ),
    (_is_shell, _shell),
    (_NPMRC.search, lambda source, _: proxy_variables.parse_npmrc(source, {})),
    (
        lambda text: _CNTLM.search(text) and _CNTLM_NEEDED.search(text),
        lambda source, _: cntlm.parse(source),
    ),
)
"""The test of each format, and its parser, the most specific format first."""
