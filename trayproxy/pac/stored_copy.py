"""The last good copy of a PAC script, in the cache folder.

It is used while its source cannot be loaded, as at home without the VPN. A file is JSON (RFC 8259),
mode 0600, named after a checksum of the source::

    {"schema": 1, "source": "http://pac.example/proxy.pac", "loaded_at": 1764513593.0,
     "etag": "\\"5\\"", "last_modified": "", "crc": 907060870,
     "script": "function FindProxyForURL…"}

The source is compared: networks could otherwise choose a name with the checksum of another source,
and replace its script. A cryptographic hash would load OpenSSL, 5 MB.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

from trayproxy.file_replacement import read_file, replace_file
from trayproxy.profiles.pac_source import PacSource

MAX_COPIES = 20
"""The largest number of copies; the oldest are deleted."""

_SCHEMA = 1
_MAX_SIZE = 8 << 20
"""The largest file, in octets: JSON needs up to six octets for an octet of the script."""


class DamagedCopyError(Exception):
    """The file of a copy is not complete, or is not a copy of a script."""


@dataclass(frozen=True, slots=True)
class Validators:
    """The values with which a server tells whether a script has changed (RFC 9110, section 8.8).

    Attributes:
        etag: The ETag; empty if the server sends none.
        last_modified: The Last-Modified date as received; empty if the server sends none.
    """

    etag: str = ""
    last_modified: str = ""


@dataclass(frozen=True, slots=True)
class StoredCopy:
    """A PAC script with its age.

    Attributes:
        script: The text.
        loaded_at: The time at which its source last confirmed it, in seconds since the epoch.
        validators: The validators of the server.
    """

    script: str
    loaded_at: float
    validators: Validators = Validators()


def load_copy(folder: Path, source: PacSource) -> StoredCopy | None:
    """Return the copy of a source; None if there is none.

    Raises:
        DamagedCopyError: The file cannot be read, or is damaged.
    """
    try:
        octets = read_file(_path(folder, source), _MAX_SIZE + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DamagedCopyError(error.strerror or str(error)) from None
    try:
        members = json.loads(octets)
        if members["schema"] != _SCHEMA or members["crc"] != _checksum(members["script"]):
            raise ValueError("another version, or changed")
        if members["source"] != str(source):
            return None
        validators = Validators(str(members["etag"]), str(members["last_modified"]))
        return StoredCopy(members["script"], float(members["loaded_at"]), validators)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise DamagedCopyError("it is damaged") from None


def store_copy(folder: Path, source: PacSource, copy: StoredCopy) -> None:
    """Store the copy of a source, and delete the oldest of too many copies.

    Raises:
        OSError: The copy was not stored.
    """
    members: dict[str, Any] = {
        "schema": _SCHEMA,
        "source": str(source),
        "loaded_at": copy.loaded_at,
        "etag": copy.validators.etag,
        "last_modified": copy.validators.last_modified,
        "crc": _checksum(copy.script),
        "script": copy.script,
    }
    replace_file(_path(folder, source), json.dumps(members).encode("ascii"), is_durable=False)
    copies = sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in copies[MAX_COPIES:]:
        path.unlink(missing_ok=True)


def _path(folder: Path, source: PacSource) -> Path:
    return folder / f"{_checksum(str(source)):08x}.json"


def _checksum(text: str) -> int:
    return crc32(text.encode("utf-8", "surrogatepass"))
