"""A password that must turn up nowhere, and the places to look for it."""

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from urllib.parse import quote, quote_plus

import psutil

from trayproxy.auth.login import Login

Place = tuple[str, bytes]
"""What was searched, by a name for the report, and its octets."""


@dataclass(frozen=True, slots=True)
class SearchableSecret:
    """A login whose password exists once in the world.

    Attributes:
        user: The user name, which may well be seen.
        password: Random, and different in every encoding that there is.
    """

    user: str = "alice"
    password: str = field(default_factory=lambda: f"Kanari/ü {token_hex(12)}+&", repr=False)

    @property
    def login(self) -> Login:
        """The login, as a person types it."""
        return Login(self.user, self.password)

    @property
    def pair(self) -> str:
        """``user:password``, as curl takes it and Basic encodes it."""
        return f"{self.user}:{self.password}"

    def assert_absent(self, places: Iterable[Place]) -> None:
        """Assert that the password is in none of these places, in no encoding.

        The failure names the places and the encodings, and not the password.
        """
        forms = self.forms()
        found = [
            f"{place} holds it as {name}"
            for place, octets in places
            for name, form in forms.items()
            if form in octets
        ]
        assert not found, found

    def forms(self) -> dict[str, bytes]:
        """Return the octets to search for, by the name of the encoding."""
        text = self.password
        octets = text.encode()
        return {
            "UTF-8": octets,
            "Latin-1": text.encode("latin-1"),
            "UTF-16LE": text.encode("utf-16-le"),
            "UTF-16BE": text.encode("utf-16-be"),
            "hexadecimal": octets.hex().encode(),
            "HEXADECIMAL": octets.hex().upper().encode(),
            "percent": quote(text, safe="").encode(),
            "percent, lower case": _lower_percent(quote(text, safe="")).encode(),
            "form": quote_plus(text, safe="").encode(),
            "JSON": json.dumps(text)[1:-1].encode(),
            "repr of octets": repr(octets)[2:-1].encode(),
            "Basic": b64encode(self.pair.encode()),
            "Basic, Latin-1": b64encode(self.pair.encode("latin-1")),
            **_base64_forms(octets),
        }


def _lower_percent(text: str) -> str:
    first, *others = text.split("%")
    return "%".join([first, *(other[:2].lower() + other[2:] for other in others)])


def _base64_forms(octets: bytes) -> dict[str, bytes]:
    """Return what base64 makes of the octets wherever they stand in something longer."""
    forms = {}
    for before in range(3):
        for name, encode in (("base64", b64encode), ("base64url", urlsafe_b64encode)):
            coded = encode(bytes(before) + octets)
            # The first and the last group of four depend on what stands before and behind.
            whole = coded[4 if before else 0 : (before + len(octets)) // 3 * 4]
            forms[f"{name}, {before} octets in"] = whole
    return forms


def files_below(directory: Path) -> Iterator[Place]:
    """Return every file below a directory, with its path: names are places, too."""
    for path in sorted(directory.rglob("*")):
        octets = path.read_bytes() if path.is_file() else b""
        yield str(path.relative_to(directory)), str(path).encode() + b"\n" + octets


def process_and_children(pid: int) -> Iterator[Place]:
    """Return command line and environment of a process and of all below it.

    A process that is not ours to look into keeps its environment from every other program of this
    user, too; there is nothing to search then.
    """
    process = psutil.Process(pid)
    for each in (process, *process.children(recursive=True)):
        for name in ("cmdline", "environ"):
            try:
                yield f"{name} of {each.pid}", Path(f"/proc/{each.pid}/{name}").read_bytes()
            except (PermissionError, FileNotFoundError):
                continue


def text(name: str, content: str) -> Place:
    """Return a text as a place."""
    return name, content.encode()
