"""A reproducible stream of octets of any length, in which all blocks differ."""

from collections.abc import Iterator
from hashlib import file_digest, sha256
from pathlib import Path

_BLOCK = 1 << 16
_FILLING = b"".join(sha256(b"%d" % n).digest() for n in range(_BLOCK // 32))


def octets(length: int) -> Iterator[bytes]:
    """Yield the first octets of the stream in blocks."""
    for number in range(0, -(-length // _BLOCK)):
        block = number.to_bytes(8, "big") + _FILLING[8:]
        yield block[: length - number * _BLOCK]


def digest(length: int) -> str:
    """Return the SHA-256 of the first octets of the stream, in hexadecimal."""
    found = sha256()
    for block in octets(length):
        found.update(block)
    return found.hexdigest()


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def write(path: Path, length: int) -> Path:
    """Write the first octets of the stream to a file; return the path of the file."""
    with path.open("wb") as file:
        for block in octets(length):
            file.write(block)
    return path
