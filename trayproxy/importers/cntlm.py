"""The settings of Cntlm: ``cntlm.conf``, on Windows ``cntlm.ini``.

Source: ``config.c``, ``main.c`` and cntlm(1) of Cntlm 0.94. Cntlm keeps the password in clear text
or as hashes, with which it signs in. TrayProxy does not use hashes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from trayproxy.importers.addresses import pac_source, port_number, proxy_list
from trayproxy.importers.bypass import import_bypass, split_entries
from trayproxy.importers.found import Found, FoundPassword, FoundProfile, SecretForm, Source
from trayproxy.importers.logins import clear_password, full_user_name, scheme_choice
from trayproxy.importers.source_text import SourceText
from trayproxy.profiles.profile import SignIn

_LINE = re.compile(r'\s*(?P<key>[A-Za-z0-9]+)\s+(?:"(?P<quoted>[^"]*)"|(?P<plain>[^#;"][^#]*))')
_HASHES = ("passntlmv2", "passnt", "passlm")
_KNOWN = frozenset(
    {
        *_HASHES,
        *("allow", "auth", "deny", "domain", "flags", "gateway", "header", "isascanneragent"),
        *("isascannersize", "listen", "noproxy", "ntlmtobasic", "pac", "password", "proxy"),
        *("socks5proxy", "socks5user", "socks5users", "sspi", "tunnel", "username", "workstation"),
    }
)
KEYS = _KNOWN
"""The names of all settings, in lower case."""
_UNUSED = (
    *("header", "ntlmtobasic", "socks5proxy", "tunnel", "workstation", "flags"),
    *("allow", "deny", "isascannersize", "isascanneragent"),
)


@dataclass(frozen=True, slots=True)
class CntlmOption:
    """A line of the file.

    Attributes:
        key: The name of the setting as written.
        value: Its value, without quotes.
        line: The number of the line.
    """

    key: str
    value: str
    line: int


def options(text: str) -> Iterator[CntlmOption]:
    """Yield the settings of a file. Cntlm ignores other lines and the names of sections."""
    for number, line in enumerate(text.split("\n"), 1):
        found = _LINE.match(line)
        if found:
            value = found["quoted"] if found["quoted"] is not None else found["plain"].rstrip()
            yield CntlmOption(found["key"], value, number)


def parse(source: SourceText) -> Found:
    """Return the settings of the file."""
    values: dict[str, list[CntlmOption]] = {}
    for option in options(source.text):
        values.setdefault(option.key.lower(), []).append(option)

    def first(key: str) -> str:
        return values[key][0].value if key in values else ""

    proxies = proxy_list(option.value for option in values.get("proxy", ()))
    pac = pac_source(first("pac"))
    if not proxies.upstreams and pac.source is None:
        nothing = f"{source.name} names no proxy."
        return Found(passwords=_hashes(source, values), notes=(*proxies.notes, *pac.notes, nothing))
    schemes = scheme_choice(first("auth"))
    uses_log_on = "sspi" in values and not first("username")
    lists = (entry for option in values.get("noproxy", ()) for entry in split_entries(option.value))
    bypass = import_bypass(lists, covers_subdomains=False)
    secret = next(iter(values.get("password", ())), CntlmOption("", "", 0))
    profile = FoundProfile(
        Source.CNTLM,
        source.place(),
        # With a PAC script, Cntlm uses the proxies that the script names.
        () if pac.source else proxies.upstreams,
        pac.source,
        full_user_name(first("domain"), first("username")),
        bypass.rules,
        SignIn.SSO if uses_log_on else SignIn.PASSWORD,
        schemes.method,
        clear_password(secret.value, source.place(secret.line), secret.key),
        f"127.0.0.1:{port_number(first('listen')) or 3128}",
        (*proxies.notes, *pac.notes, *schemes.notes, *bypass.notes),
    )
    return Found(
        (profile.with_notes(*_notes(values)),), _hashes(source, values) + _own(source, values)
    )


def _hashes(source: SourceText, values: dict[str, list[CntlmOption]]) -> tuple[FoundPassword, ...]:
    return tuple(
        FoundPassword(SecretForm.HASH, source.place(option.line), key=option.key)
        for key in _HASHES
        for option in values.get(key, ())
    )


def _own(source: SourceText, values: dict[str, list[CntlmOption]]) -> tuple[FoundPassword, ...]:
    """Return the passwords for clients of Cntlm's SOCKS5 listener; they are no user's of a proxy,
    so they are not carried over, but stand in clear text."""
    return tuple(
        FoundPassword(SecretForm.CLEAR, source.place(option.line), key=option.key)
        for key in ("socks5user", "socks5users")
        for option in values.get(key, ())
    )


def _notes(values: dict[str, list[CntlmOption]]) -> list[str]:
    notes = []
    if any(option.value.lower() == "yes" for option in values.get("gateway", ())):
        notes.append(
            "Cntlm lets other computers connect. TrayProxy accepts programs of this computer only."
        )
    if any(key in values for key in _HASHES) and "password" not in values:
        notes.append("Cntlm keeps only a hash of the password. TrayProxy asks for the password.")
    unused = [option.key for key in _UNUSED for option in values.get(key, ())[:1]]
    if unused:
        notes.append(f"Its settings {', '.join(unused)} are not carried over.")
    return notes
