"""Convert bare LF line ends and folded lines to the form that the grammar requires.

Squid, HAProxy and curl accept responses whose lines end with a bare LF (RFC 9112, section 2.2) or
are folded (section 5.2), so users expect such responses to work. They are accepted in responses
only, never in requests, and are always forwarded in the strict form. Another recipient may parse
such octets as a different message, so the connection they arrived on must not be reused.
"""

import re

# Not compiled here: few servers write such answers, and `re` keeps what it has compiled.
_BARE_LF = rb"(?<!\r)\n"
# Whitespace before the CRLF is not matched: on a long run of it the search would take quadratic
# time.
_FOLD = rb"\r\n[ \t]+"


def is_strict(section: bytes) -> bool:
    """Return whether every line ends with CRLF and no line is folded."""
    return (
        section.count(b"\n") == section.count(b"\r\n")
        and b"\n " not in section
        and b"\n\t" not in section
    )


def to_strict_lines(section: bytes, *, has_start_line: bool) -> bytes:
    """Return the section with CRLF line ends and with each fold replaced by one SP.

    Args:
        section: Complete lines.
        has_start_line: Whether the first line is a status line. A status line cannot be folded: a
            line after it that begins with whitespace is kept, and the field parser rejects it.
    """
    section = re.sub(_BARE_LF, b"\r\n", section)
    first, end, rest = section.partition(b"\r\n") if has_start_line else (b"", b"", section)
    return first + end + re.sub(_FOLD, b" ", rest)
