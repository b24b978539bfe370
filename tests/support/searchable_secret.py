"""A unique password, and searches for it in files and processes."""

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
"""A searched place: its name for the report, and its octets."""


@dataclass(frozen=True, slots=True)
class SearchableSecret:
    """A login with a random password that differs in every encoding."""

    user: str = "alice"
    password: str = field(default_factory=lambda: f"Kanari/ü {token_hex(12)}+&", repr=False)

    @property
    def login(self) -> Login:
        """The login as the user types it."""
        return Login(self.user, self.password)

    @property
    def pair(self) -> str:
        """``user:password``, the format of curl's option and of Basic."""
        return f"{self.user}:{self.password}"

    def assert_absent(self, places: Iterable[Place]) -> None:
        """Assert that no place contains the password in any encoding.

        The message of a failure names the places and the encodings, not the password.
        """
        forms = self.forms()
        found = [
            f"{place} contains it as {name}"
            for place, octets in places
            for name, form in forms.items()
            if form in octets
        ]
        assert not found, found

    def forms(self) -> dict[str, bytes]:
        """Return the encoded passwords by the name of the encoding."""
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
    """Return the base64 forms of the octets at each alignment within a longer text."""
    forms = {}
    for before in range(3):
        for name, encode in (("base64", b64encode), ("base64url", urlsafe_b64encode)):
            coded = encode(bytes(before) + octets)
            # The first and the last group of four characters depend on the adjacent octets.
            whole = coded[4 if before else 0 : (before + len(octets)) // 3 * 4]
            forms[f"{name}, {before} octets in"] = whole
    return forms


def files_below(directory: Path) -> Iterator[Place]:
    """Yield each file below a directory; its path is searched too."""
    for path in sorted(directory.rglob("*")):
        octets = path.read_bytes() if path.is_file() else b""
        yield str(path.relative_to(directory)), str(path).encode() + b"\n" + octets


def process_and_children(pid: int) -> Iterator[Place]:
    """Yield the command lines and environments of a process and its descendants.

    A process whose environment cannot be read is skipped: no other program of this user can read it
    either.
    """
    process = psutil.Process(pid)
    for each in (process, *process.children(recursive=True)):
        for name in ("cmdline", "environ"):
            try:
                yield f"{name} of {each.pid}", Path(f"/proc/{each.pid}/{name}").read_bytes()
            except (PermissionError, FileNotFoundError):
                continue


def text(name: str, content: str) -> Place:
    """Return a text as a searched place."""
    return name, content.encode()
