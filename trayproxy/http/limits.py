"""The limits for the sizes and counts of messages."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class MessageLimits:
    """Limits for sizes in octets and for counts. A message above them is refused, not truncated.

    RFC 9110, section 5.4 leaves the limits to implementations. A field line has room for a value of
    64 KiB in addition to its name, like http.sys: a Kerberos token of 48,000 octets takes 64,000
    octets in base64.

    Attributes:
        request_line: The maximum start line, without its line end (RFC 9112, section 3: at least
            8000).
        head: The maximum head, without preceding empty lines: the maximum number of lines, each of
            the maximum length.
        lines: The maximum number of field lines in a head or in trailers.
        line: The maximum field line. Also the maximum total of the fields that are split into
            elements, such as Connection.
        empty_lines: The maximum number of empty lines before a head (RFC 9112, section 2.2: at
            least one).
        chunk_line: The maximum chunk size line with its extensions; extensions are dropped.
        trailers: The maximum trailer section.
    """

    request_line: int = 16_384
    head: int = 16_384 + 512 * 66_560
    lines: int = 512
    line: int = 66_560
    empty_lines: int = 8
    chunk_line: int = 4_096
    trailers: int = 66_560


DEFAULT_LIMITS = MessageLimits()
"""The default limits."""
