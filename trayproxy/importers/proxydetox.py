"""The settings of Proxydetox: ``proxydetoxrc``, a list of options of its command line.

Source: ``proxydetox/src/options.rs`` and ``doc/configuration.md`` of Proxydetox 0.10. Proxydetox
chooses the proxies by a PAC file only. It reads the logins of Basic from ``.netrc``.
"""

from collections.abc import Iterator, Sequence

from trayproxy.importers.addresses import pac_source, port_number
from trayproxy.importers.found import Found, FoundProfile, Place, Source
from trayproxy.importers.source_text import SourceText
from trayproxy.profiles.profile import Method, SignIn

_VALUES = {"-p": "--pac-file", "-L": "--listen", "-n": "--negotiate"}
_UNUSED = ("--my-ip-address", "--direct-fallback", "--proxytunnel")


def parse(source: SourceText, default_pac: str = "", netrc: SourceText | None = None) -> Found:
    """Return the settings of ``proxydetoxrc``.

    Args:
        source: The file; its text is empty if there is none.
        default_pac: The path of the PAC file beside it, which is used without ``--pac-file``; empty
            if there is none.
        netrc: The file with the logins, None if there is none.
    """
    lines = (line for line in source.text.split("\n") if not line.lstrip().startswith("#"))
    words = [word for line in lines for word in line.split()]
    return from_arguments(words, source.place(), default_pac, netrc)


def from_arguments(
    arguments: Sequence[str], place: Place, default_pac: str = "", netrc: SourceText | None = None
) -> Found:
    """Return the settings of a command line, without the name of the program; see `parse`."""
    options = dict(_options(arguments))
    pac = pac_source(options.get("--pac-file", "") or default_pac)
    if pac.source is None:
        return Found(notes=(*pac.notes, f"{place} names no PAC file."))
    uses_tickets = "--negotiate" in options
    notes = [f"Its option {name} is not carried over." for name in _UNUSED if name in options]
    if not uses_tickets and netrc is not None and _has_password(netrc):
        notes.append(
            f"Proxydetox reads passwords from {netrc.name}, where they stand in clear text. "
            "TrayProxy asks for the password of each proxy once, and keeps it in the keyring."
        )
    profile = FoundProfile(
        Source.PROXYDETOX,
        place,
        pac=pac.source,
        sign_in=SignIn.SSO if uses_tickets else SignIn.PASSWORD,
        method=Method.NEGOTIATE if uses_tickets else Method.AUTOMATIC,
        listens_at=f"127.0.0.1:{port_number(options.get('--listen', '')) or 3128}",
        notes=tuple(notes),
    )
    return Found((profile,))


def _options(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    for index, argument in enumerate(arguments):
        if argument.startswith("-"):
            name, equals, value = argument.partition("=")
            following = arguments[index + 1] if index + 1 < len(arguments) else ""
            if not equals and not following.startswith("-"):
                value = following
            yield _VALUES.get(name, name), value


def _has_password(netrc: SourceText) -> bool:
    return "password" in netrc.text.split()
