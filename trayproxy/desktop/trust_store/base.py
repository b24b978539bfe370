"""The protocol of the system's certificate authorities, and the PEM format."""

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

_LABEL = "CERTIFICATE"
_BLOCK = re.compile(f"-----BEGIN {_LABEL}-----\\s(.*?)-----END {_LABEL}-----", re.DOTALL)
_LINE_LENGTH = 64


class SystemAuthorities(Protocol):
    """The certificate authorities that the system trusts."""

    def certificates(self) -> Sequence[bytes]:
        """Return the certificates of all authorities, in DER, each once.

        Raises:
            TargetError: The certificates cannot be read.
        """


def from_pem(text: str) -> Iterator[bytes]:
    """Yield the certificates of a text in PEM, in DER (RFC 7468, section 5).

    Texts between the certificates and unreadable certificates are skipped.
    """
    for block in _BLOCK.finditer(text):
        try:
            yield b64decode("".join(block[1].split()), validate=True)
        except binascii.Error:
            continue


def to_pem(certificates: Iterable[bytes]) -> str:
    """Return certificates in PEM (RFC 7468, section 5)."""
    return "".join(map(_block, certificates))


def _block(certificate: bytes) -> str:
    text = b64encode(certificate).decode("ascii")
    lines = [text[start : start + _LINE_LENGTH] for start in range(0, len(text), _LINE_LENGTH)]
    return "\n".join((f"-----BEGIN {_LABEL}-----", *lines, f"-----END {_LABEL}-----", ""))
