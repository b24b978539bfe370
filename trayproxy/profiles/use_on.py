"""The conditions under which a profile is used by itself: the networks it is for.

The syntax of a condition:

=========================  ====================================================================
``wifi:Branch-*``          a Wi-Fi network, by its name
``gateway:10.1.0.1``       a default gateway, by its address
``gateway:10.1.0.0/16``    a default gateway in a range of addresses
``gateway:02:00:5e:…``     a default gateway, by its hardware address
``dns:corp.example``       a DNS suffix of the network: corp.example, or a domain below it
``vpn:tun*``               a VPN, by the name of its interface or of its connection
``answers``                any network from which a proxy of the profile can be reached
=========================  ====================================================================

``*`` stands for any characters, and ``?`` for one, such as the comma, which separates conditions.
Upper and lower case are the same.
"""

import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum, auto
from ipaddress import ip_address, ip_network

from trayproxy.profiles.profile import ProfileError

MAX_CONDITIONS = 32
_MAX_LENGTH = 255
_MAC = re.compile(r"[0-9a-f]{2}([:-][0-9a-f]{2}){5}", re.IGNORECASE)
_SUFFIX = re.compile(r"[a-z0-9_*?-]+(\.[a-z0-9_*?-]+)*")
_FORM = "wifi:NAME, gateway:ADDRESS, dns:SUFFIX, vpn:NAME or answers"


class ConditionKind(StrEnum):
    """The fact of a network that a condition is about."""

    WIFI = auto()
    GATEWAY = auto()
    DNS = auto()
    VPN = auto()
    ANSWERS = auto()


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition.

    Attributes:
        kind: The fact.
        pattern: The wanted value in its canonical form; empty for `ConditionKind.ANSWERS`.
    """

    kind: ConditionKind
    pattern: str = ""

    def __str__(self) -> str:
        """Return the condition as users write it."""
        return f"{self.kind}:{self.pattern}" if self.pattern else str(self.kind)


def parse_condition(text: str) -> Condition:
    """Return the condition of a text.

    Raises:
        ProfileError: The text is no condition.
    """
    name, _, pattern = text.strip().partition(":")
    pattern = pattern.strip()
    try:
        kind = ConditionKind(name.strip().lower())
    except ValueError:
        raise ProfileError(f"Write a network as {_FORM}.") from None
    if (kind is ConditionKind.ANSWERS) is bool(pattern) or len(pattern) > _MAX_LENGTH:
        raise ProfileError(f"Write a network as {_FORM}.")
    if "," in pattern or any(
        unicodedata.category(char)[0] in "CZ" and char != " " for char in pattern
    ):
        raise ProfileError(
            "Write ? for a comma or an invisible character in the name of a network."
        )
    if kind is ConditionKind.GATEWAY:
        pattern = _gateway(pattern)
    elif kind is ConditionKind.DNS:
        pattern = pattern.lower().strip(".")
        if not _SUFFIX.fullmatch(pattern):
            raise ProfileError("Write a DNS suffix of the network, such as dns:corp.example.")
    return Condition(kind, pattern)


def check_conditions(texts: Sequence[str]) -> tuple[str, ...]:
    """Return conditions in their canonical form, each once.

    Raises:
        ProfileError: A condition is invalid, or there are more than `MAX_CONDITIONS`.
    """
    conditions = tuple(dict.fromkeys(str(parse_condition(text)) for text in texts))
    if len(conditions) > MAX_CONDITIONS:
        raise ProfileError(f"A profile is for at most {MAX_CONDITIONS} networks.")
    return conditions


def _gateway(pattern: str) -> str:
    """Return a gateway in its canonical form: an address, a range or a hardware address."""
    if _MAC.fullmatch(pattern):
        return pattern.lower().replace("-", ":")
    with suppress(ValueError):
        if "/" not in pattern:
            return str(ip_address(pattern.strip("[]")))
        return str(ip_network(pattern, strict=False))
    raise ProfileError("Write the address of a gateway, such as gateway:10.1.0.1.")
