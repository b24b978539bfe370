"""How much of anything is too much."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes in octets and counts; what passes one is refused, never cut.

    RFC 9110, section 5.4 leaves the figures to us. They are above what browsers send (Chromium's
    largest Cookie line is 16 KiB) and small enough to hold a head in memory per connection.

    Attributes:
        request_line: The longest first line, without its line end (RFC 9112, section 3: at least
            8000).
        head: The longest head, without empty lines in front of it.
        lines: The most field lines in a head or in trailers.
        line: The longest field line.
        empty_lines: The most empty lines in front of a head (RFC 9112, section 2.2: one at least).
        chunk_line: The longest chunk size with its extensions; we drop the extensions.
        trailers: The longest trailer section.
    """

    request_line: int = 16_384
    head: int = 65_536
    lines: int = 200
    line: int = 32_768
    empty_lines: int = 8
    chunk_line: int = 4_096
    trailers: int = 16_384


LIMITS = Limits()
"""The limits that hold unless somebody says otherwise."""
