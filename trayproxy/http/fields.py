"""Field lines (RFC 9110, section 5; RFC 9112, section 5)."""

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

from trayproxy.http.errors import MessageError
from trayproxy.http.heads import TCHAR, header_too_large
from trayproxy.http.limits import DEFAULT_LIMITS, MessageLimits

# Values contain no control octets except HTAB. RFC 9110, section 5.5 would allow some, but strict
# parsers (llhttp) refuse them, and they have no use.
_VALUE = rb"[^\x00-\x08\x0a-\x1f\x7f]*"
_FIELD_VALUE = re.compile(_VALUE)
_LINE = re.compile(rb"([%b]+):(%b)" % (TCHAR, _VALUE))
# "A proxy MUST remove any such whitespace from a response message" (RFC 9112, section 5.1).
_RESPONSE_LINE = re.compile(rb"([%b]+)[ \t]*:(%b)" % (TCHAR, _VALUE))
# RFC 9110, section 5.5 lets a recipient keep these octets in values; they are replaced by SP.
_CONTROLS = bytes(octet for octet in (*range(1, 32), 127) if octet not in b"\t\n\r")
_CONTROLS_TO_SPACES = bytes.maketrans(_CONTROLS, b" " * len(_CONTROLS))

_OWS = b" \t"

# Fields that are split into elements. Each element takes more memory than its octets.
_LIST_FIELDS = (
    b"connection content-length expect proxy-authenticate proxy-connection te transfer-encoding "
    b"upgrade via www-authenticate"
).split()


@dataclass(frozen=True, slots=True, repr=False)
class Fields:
    """Field lines in the order received. Names keep their case and are compared case-insensitively.

    Iterating yields the lines. `repr` shows only the names: values may be credentials or cookies.

    Attributes:
        lines: The name and value of each line, the value without surrounding whitespace.
    """

    lines: tuple[tuple[bytes, bytes], ...] = ()
    _values: dict[bytes, tuple[bytes, ...]] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        values: dict[bytes, tuple[bytes, ...]] = {}
        for name, value in self.lines:
            key = name.lower()
            values[key] = (*values.get(key, ()), value)
        object.__setattr__(self, "_values", values)

    def __iter__(self) -> Iterator[tuple[bytes, bytes]]:
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)

    def __contains__(self, name: bytes) -> bool:
        return name.lower() in self._values

    def __repr__(self) -> str:
        return f"Fields({', '.join(name.decode('ascii', 'replace') for name, _ in self.lines)})"

    def get_all(self, name: bytes) -> tuple[bytes, ...]:
        """Return the values of all lines with this name, in order (RFC 9110, section 5.3)."""
        return self._values.get(name.lower(), ())

    def elements(self, name: bytes) -> tuple[bytes, ...]:
        """Return the elements of a comma-separated list from all lines with this name.

        Empty elements are removed (RFC 9110, section 5.6.1.2). Use this method only for lists
        without quoted strings: a comma inside a quoted string would split it.
        """
        values = self.get_all(name)
        if not values:
            return ()
        parts = [part.strip(_OWS) for value in values for part in value.split(b",")]
        return tuple([part for part in parts if part])

    def tokens(self, name: bytes) -> tuple[bytes, ...]:
        """Return the elements of a list of case-insensitive elements, in lower case."""
        return tuple([element.lower() for element in self.elements(name)])

    def without(self, names: Collection[bytes]) -> "Fields":
        """Return the lines without these names, given in lower case."""
        return Fields(tuple(line for line in self.lines if line[0].lower() not in names))


def parse_fields(lines: Iterable[bytes], limits: MessageLimits = DEFAULT_LIMITS) -> Fields:
    """Parse the field lines of a request, or of trailers, without their line ends.

    Raises:
        MessageError: 400 a line is malformed: no colon, whitespace before the colon, a folded line,
            a name with an invalid character, or a control octet in a value.
        TooLargeError: 431 a line is too long, or there are too many lines.
    """
    return _parse(lines, _LINE, limits)


def parse_response_fields(lines: Iterable[bytes], limits: MessageLimits = DEFAULT_LIMITS) -> Fields:
    """Parse the field lines of a response; like `parse_fields`, but accept a space in `Name :`.

    Control octets in a value are replaced by spaces: Squid, HAProxy and curl accept them, too. NUL,
    CR and LF remain errors, and so do control octets in a field on which the connection depends.
    """
    return _parse(lines, _RESPONSE_LINE, limits, has_tolerant_values=True)


def is_field_value(value: bytes) -> bool:
    """Return whether these octets are a valid field value."""
    return _FIELD_VALUE.fullmatch(value) is not None


def field_line(name: bytes, value: bytes) -> bytes:
    """Return a serialized field line."""
    return b"%b: %b\r\n" % (name, value)


def write_fields(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Return the serialized field lines."""
    return b"".join([b"%b: %b\r\n" % line for line in fields])


def _parse(
    lines: Iterable[bytes],
    pattern: re.Pattern[bytes],
    limits: MessageLimits,
    *,
    has_tolerant_values: bool = False,
) -> Fields:
    parsed: list[tuple[bytes, bytes]] = []
    size = 0
    for line in lines:
        size += len(line)
        if len(line) > limits.line or len(parsed) == limits.lines:
            raise header_too_large(limits)
        match = pattern.fullmatch(line)
        if match is None and has_tolerant_values:
            match = pattern.fullmatch(_without_controls(line))
        if match is None:
            raise MessageError(400, _syntax_error(line))
        parsed.append((match[1], match[2].strip(_OWS)))
    fields = Fields(tuple(parsed))
    if size > limits.line:
        _check_lists(fields, limits)
    return fields


def _without_controls(line: bytes) -> bytes:
    """Return a field line with spaces for the control octets in its value; unchanged if the field
    is in `_LIST_FIELDS`."""
    name, colon, value = line.partition(b":")
    if name.rstrip(_OWS).lower() in _LIST_FIELDS:
        return line
    return name + colon + value.translate(_CONTROLS_TO_SPACES)


def _check_lists(fields: Fields, limits: MessageLimits) -> None:
    """Raise an error if the list fields exceed the limit for a line in total."""
    values = [value for name in _LIST_FIELDS for value in fields.get_all(name)]
    if sum(map(len, values)) > limits.line:
        raise header_too_large(limits)


def _syntax_error(line: bytes) -> str:
    """Return why a line is not a valid field line, without quoting it."""
    name, colon, _ = line.partition(b":")
    if line[:1] in (b" ", b"\t"):
        return "a field line is folded, or begins with whitespace"
    if not colon:
        return "a field line has no colon"
    if name.endswith((b" ", b"\t")):
        return "a field line has whitespace before its colon"
    if re.fullmatch(rb"[%b]+" % TCHAR, name):
        return "a field value has a control character"
    return "a field name has a character that names cannot have"
