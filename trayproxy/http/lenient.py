"""Line ends and folded lines as some servers write them, made into what the grammar has.

Squid, HAProxy and curl read answers whose lines end with a bare LF (RFC 9112, section 2.2) or are
folded (section 5.2), so users expect such answers to arrive. They are read in answers only, never
in requests, and always written anew in the strict form. Two readers may find different messages in
such octets, so the connection that they came on must not be used again.
"""

import re

_BARE_LF = re.compile(rb"(?<!\r)\n")
# Not with blanks in front: a regular expression would take quadratic time for a long run of them.
_FOLD = re.compile(rb"\r\n[ \t]+")


def is_tidy(section: bytes) -> bool:
    """Tell whether every line ends with CRLF and none is folded."""
    return (
        section.count(b"\n") == section.count(b"\r\n")
        and b"\n " not in section
        and b"\n\t" not in section
    )


def tidy(section: bytes, *, has_start_line: bool) -> bytes:
    """Return the lines with CRLF at their ends; each fold becomes one SP.

    Args:
        section: Whole lines.
        has_start_line: The first line is a status line, which cannot be continued: a line with
            whitespace behind it stays as it is, and is refused by whoever reads the field lines.
    """
    section = _BARE_LF.sub(b"\r\n", section)
    first, end, rest = section.partition(b"\r\n") if has_start_line else (b"", b"", section)
    return first + end + _FOLD.sub(b" ", rest)
