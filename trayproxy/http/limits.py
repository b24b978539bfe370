"""How much of anything is too much."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MessageLimits:
    """Sizes in octets and counts; what passes one is refused, never cut.

    RFC 9110, section 5.4 leaves the figures to us. A field line has room for 64 KiB of value beside
    its name, as http.sys has: a Kerberos token of 48,000 octets takes 64,000 in base64.

    Attributes:
        request_line: The longest first line, without its line end (RFC 9112, section 3: at least
            8000).
        head: The longest head, without empty lines in front of it: as many lines as are allowed,
            each as long as is allowed.
        lines: The most field lines in a head or in trailers.
        line: The longest field line. Also the most that the lines hold together which we take
            apart into their elements, such as Connection.
        empty_lines: The most empty lines in front of a head (RFC 9112, section 2.2: one at least).
        chunk_line: The longest chunk size with its extensions; we drop the extensions.
        trailers: The longest trailer section.
    """

    request_line: int = 16_384
    head: int = 16_384 + 512 * 66_560
    lines: int = 512
    line: int = 66_560
    empty_lines: int = 8
    chunk_line: int = 4_096
    trailers: int = 66_560


DEFAULT_LIMITS = MessageLimits()
"""The limits that hold unless somebody says otherwise."""
