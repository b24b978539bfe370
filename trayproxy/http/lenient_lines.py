"""Conversion of bare LF line ends and folded lines to the strict form.

Squid, HAProxy and curl accept responses with bare LF line ends (RFC 9112, section 2.2) or folded
lines (section 5.2), so users expect such responses to work. TrayProxy accepts them in responses,
never in requests, and always forwards them in the strict form. Another recipient may parse such
octets as a different message, so the connection must not be reused.
"""

import re

# Not compiled here: such responses are rare, and `re` caches compiled patterns.
_BARE_LF = rb"(?<!\r)\n"
# Whitespace before the CRLF is not matched: a search in long whitespace would take quadratic time.
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
        has_start_line: True if the first line is a status line. A status line cannot be folded: a
            second line with leading whitespace is kept, and the field parser rejects it.
    """
    section = re.sub(_BARE_LF, b"\r\n", section)
    first, end, rest = section.partition(b"\r\n") if has_start_line else (b"", b"", section)
    return first + end + re.sub(_FOLD, b" ", rest)
