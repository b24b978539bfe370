"""Patterns of hosts, as in bypass rules and routing rules.

The syntax of a pattern:

===========================  ================================================================
``intranet``                 this host
``.corp.example``            every host below corp.example, but not corp.example itself
``*.corp.example``           the same
``dev-*.corp.example``       ``*`` matches any characters including dots; ``*`` alone: all hosts
``10.1.2.3``, ``[fd00::1]``  this address
``10.0.0.0/8``, ``fd00::/8`` every address of this range
``<local>``                  every name without a dot, but no address
``intranet:8080``            any of the above, but only this port (``[fd00::/8]:80`` for IPv6)
===========================  ================================================================

The syntax is that of the exception lists of browsers, so that lists can be copied. Unlike in
browsers, only a pattern matches loopback: a request for loopback that reaches TrayProxy was sent to
a proxy on purpose, and the system's proxy settings exclude loopback by default. No name is
resolved: a name is matched only by patterns of names, unless the caller passes the known addresses
of the name.

Names are compared without case and trailing dot, in their ASCII form (RFC 5890): ``Bücher.example``
is ``xn--bcher-kva.example``. Addresses are compared as numbers: ``127.1``, ``0x7f000001`` and
``[::ffff:127.0.0.1]`` are 127.0.0.1, because the system connects to this address for them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Protocol

from trayproxy.profiles.profile import ProfileError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_LABEL = re.compile(r"[a-z0-9_*-]{1,63}")
# The dots of RFC 3490, section 3.1, as typed with an East Asian keyboard.
_DOTS = re.compile("[.\u3002\uff0e\uff61]")
_PORT = re.compile(r"[0-9]{1,5}", re.ASCII)
_PREFIX = re.compile(r"[0-9]{1,3}", re.ASCII)
_DIGITS = frozenset("0123456789")
_NUMBER = re.compile(r"0x[0-9a-f]*|[0-9]+", re.ASCII)
_MAX_NAME_LENGTH = 253
_MAX_QUOTED = 60


@dataclass(frozen=True, slots=True)
class Host:
    """The host of a request, in the form in which it is compared with patterns.

    Attributes:
        name: The name in ASCII form, lower case, without a trailing dot; empty for an address.
        addresses: The address itself, or the known addresses of the name.
    """

    name: str
    addresses: tuple[Address, ...] = ()

    @classmethod
    def parse(cls, host: str, addresses: Iterable[Address] = ()) -> "Host":
        """Parse the host of a request: a name with its known addresses, or an address.

        IPv6 addresses may have brackets.
        """
        literal = parse_address(host)
        if literal is not None:
            return cls("", (literal,))
        known = tuple(_without_ipv4_mapping(address) for address in addresses)
        return cls(_ascii_name(host), known)


class HostMatcher(Protocol):
    """The part of a pattern that matches hosts, without the port."""

    def __contains__(self, host: Host, /) -> bool: ...


@dataclass(frozen=True, slots=True)
class LocalNames:
    """The pattern of all names without a dot, ``<local>``."""

    def __contains__(self, host: Host) -> bool:
        return bool(host.name) and "." not in host.name


@dataclass(frozen=True, slots=True)
class ExactName:
    """The pattern of a single name."""

    name: str

    def __contains__(self, host: Host) -> bool:
        return host.name == self.name


@dataclass(frozen=True, slots=True)
class Wildcard:
    """A pattern with ``*``, for names and addresses.

    Attributes:
        parts: The texts between the ``*``; always two or more.
    """

    parts: tuple[str, ...]

    def __contains__(self, host: Host) -> bool:
        if host.name:
            return self.matches(host.name)
        return any(self.matches(str(address)) for address in host.addresses)

    def matches(self, text: str) -> bool:
        """Return whether a text matches the pattern.

        Each part is searched after the previous part. The leftmost match is always sufficient, so
        the time is linear.
        """
        first, *middle, last = self.parts
        if not text.startswith(first):
            return False
        at = len(first)
        for part in middle:
            found = text.find(part, at)
            if found < 0:
                return False
            at = found + len(part)
        return len(text) - at >= len(last) and text.endswith(last)


@dataclass(frozen=True, slots=True)
class AddressRange:
    """The pattern of the addresses of a network; a single address is a network of one address."""

    network: Network

    def __contains__(self, host: Host) -> bool:
        # `in` is False, not an error, for the other version of IP.
        return any(address in self.network for address in host.addresses)


@dataclass(frozen=True, slots=True)
class HostPattern:
    """A pattern of hosts, and of a port.

    Attributes:
        hosts: The hosts matched by the pattern.
        port: The port matched by the pattern; None for all ports.
    """

    hosts: HostMatcher
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> "HostPattern":
        """Parse a pattern, or raise `ProfileError`, whose text gives the valid form."""
        text = text.strip()
        _check_shape(text)
        subject, port = _split_port(text)
        return cls(_parse_hosts(subject, text), port)

    def matches(self, host: Host, port: int) -> bool:
        """Return whether the pattern matches this host and port."""
        return self.port in (None, port) and host in self.hosts


def parse_address(host: str) -> Address | None:
    """Return the address if the host is one; None for a name.

    All notations accepted by `getaddrinfo` are addresses, because a connection would be made to
    them: ``127.1``, ``0177.0.0.1``, ``2130706433`` (WHATWG URL, section 3.5).
    """
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    if ":" in host:
        try:
            # A zone (RFC 4007) selects an interface and is not part of the address.
            return _without_ipv4_mapping(IPv6Address(host.partition("%")[0]))
        except ValueError:
            return None
    return _parse_ipv4(host.lower().removesuffix("."))


def _parse_ipv4(host: str) -> IPv4Address | None:
    parts = host.split(".")
    # The first test is a fast exit for names, the usual case.
    if parts[-1][:1] not in _DIGITS or len(parts) > 4:
        return None
    if not all(_NUMBER.fullmatch(part) and len(part) < 20 for part in parts):
        return None
    try:
        *high, low = [_number(part) for part in parts]
    except ValueError:
        return None
    if any(number > 255 for number in high) or low >= 256 ** (4 - len(high)):
        return None
    return IPv4Address(sum(n << 8 * (3 - at) for at, n in enumerate(high)) + low)


def _number(text: str) -> int:
    """Parse a number like C: hexadecimal after 0x, octal after 0."""
    if text.startswith("0x"):
        return int(text[2:] or "0", 16)
    return int(text, 8 if text.startswith("0") else 10)


def _without_ipv4_mapping(address: Address) -> Address:
    """Return the IPv4 address for an IPv4-mapped IPv6 address (RFC 4291, section 2.5.5.2)."""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _ascii_name(host: str) -> str:
    """Return the name in its ASCII form; an invalid name, which matches no pattern, unchanged."""
    name = host.lower().removesuffix(".")
    if name.isascii():
        return name
    try:
        return ".".join(_ascii_label(label) for label in _DOTS.split(name))
    except UnicodeError:
        return name


def _ascii_label(label: str) -> str:
    if label.isascii():
        return label
    return label.encode("idna").decode("ascii").lower()


def _quote(text: str) -> str:
    return f"“{text if len(text) <= _MAX_QUOTED else text[:_MAX_QUOTED] + '…'}”"


def _check_shape(text: str) -> None:
    """Raise `ProfileError` for a text that is not a pattern, and that may contain a password."""
    if not text:
        raise ProfileError("This rule is empty. Write a host, such as intranet.corp.example.")
    if "@" in text or "://" in text:
        raise ProfileError("A rule is a host, not a whole address. Write intranet.corp.example.")
    if re.search(r"[\s,;|]", text):
        raise ProfileError(f"{_quote(text)} is more than one host. Write one rule for each.")


def _split_port(text: str) -> tuple[str, int | None]:
    """Split off the port; an IPv6 address with a port needs brackets."""
    if text.startswith("["):
        inner, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise ProfileError(f"{_quote(text)} lacks a closing bracket. Write [{inner}].")
        # Both [fd00::]/8 and [fd00::/8] are in use.
        prefix, colon, port = rest.partition(":")
        subject = inner + prefix
        if ":" not in subject:
            raise ProfileError(f"{_quote(text)}: brackets are for IPv6 addresses. Leave them out.")
    elif text.count(":") > 1:
        return text, None
    else:
        subject, colon, port = text.partition(":")
    if not colon:
        return subject, None
    if not subject:
        raise ProfileError(f"{_quote(text)} names no host. Write *{text} for every host.")
    if not _PORT.fullmatch(port) or not 1 <= int(port) <= 65535:
        raise ProfileError(f"{_quote(text)}: a port is a number from 1 to 65535.")
    return subject, int(port)


def _parse_hosts(subject: str, text: str) -> HostMatcher:
    if subject.startswith("<"):
        if subject.lower() != "<local>":
            raise ProfileError(f"{_quote(text)} is not known. <local> means names without a dot.")
        return LocalNames()
    if "/" in subject:
        return AddressRange(_parse_network(subject, text))
    address = None if "*" in subject else parse_address(subject)
    if address is not None:
        return AddressRange(ip_network(address))
    if ":" in subject:
        raise ProfileError(f"{_quote(text)} is not an IPv6 address. Write one such as fd00::1.")
    return _parse_names(subject, text)


def _parse_network(subject: str, text: str) -> Network:
    host, _, prefix = subject.partition("/")
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        raise ProfileError(
            f"{_quote(text)} is not a range of addresses. Write one such as 10.0.0.0/8."
        ) from None
    if not _PREFIX.fullmatch(prefix) or int(prefix) > address.max_prefixlen:
        raise ProfileError(
            f"{_quote(text)}: the number after the slash is 0 to {address.max_prefixlen}."
        )
    network = ip_network((address, int(prefix)), strict=False)
    mapped = _without_ipv4_mapping(network.network_address)
    if mapped.version != network.version and network.prefixlen >= 96:
        return ip_network((mapped, network.prefixlen - 96))
    return network


def _parse_names(subject: str, text: str) -> HostMatcher:
    below = subject.startswith(".")
    if _NUMBER.fullmatch(_strip_dots(subject).rpartition(".")[2]):
        # No domain ends in a number (WHATWG URL, section 3.5): the text is an invalid address.
        raise ProfileError(f"{_quote(text)} is not an address. Write one such as 10.1.2.3.")
    labels = [_parse_label(label, text) for label in _DOTS.split(_strip_dots(subject))]
    name = ".".join(labels)
    if len(name) > _MAX_NAME_LENGTH:
        raise ProfileError(f"{_quote(text)} is too long for a host.")
    if below:
        name = f"*.{name}"
    return Wildcard(tuple(name.split("*"))) if "*" in name else ExactName(name)


def _strip_dots(subject: str) -> str:
    """Remove a leading dot (subdomains) and a trailing dot (absolute name)."""
    return subject.removeprefix(".").removesuffix(".").lower()


def _parse_label(label: str, text: str) -> str:
    if not label:
        raise ProfileError(f"{_quote(text)} has an empty part between dots.")
    if not label.isascii():
        if "*" in label:
            raise ProfileError(
                f"{_quote(text)}: together with *, write the ASCII form of a name, which begins "
                "with xn--."
            )
        try:
            label = _ascii_label(label)
        except UnicodeError:
            raise ProfileError(f"{_quote(text)} is not a valid host name.") from None
    if not _LABEL.fullmatch(label):
        raise ProfileError(f"{_quote(text)} is not a valid host name.")
    return label
