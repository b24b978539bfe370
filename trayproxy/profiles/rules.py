"""Routing rules: the upstream, the direct connection or the refusal for some requests of a profile.

The syntax of a rule is ``CONDITIONS -> USE``, for example::

    *.lab.example -> http://lab-proxy.example:3128
    program:git 10.0.0.0/8 -> direct
    *:25 -> block

The conditions are a pattern of hosts (`trayproxy.profiles.host_pattern`), the name of a program
after ``program:``, or both, in any order. In the name of a program, ``*`` matches any characters; a
name with blanks is quoted: ``program:"Microsoft Teams"``. The use is ``direct``, ``block`` or an
upstream, which has a login of its own. The first matching rule decides.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum, auto

from trayproxy.profiles.host_pattern import Host, HostPattern, Wildcard
from trayproxy.profiles.profile import Profile, ProfileError, Upstream
from trayproxy.profiles.validate import has_invisible, parse_upstream

MAX_RULES = 500
"""The maximum number of routing rules of a profile: each may be matched for each new host."""
MAX_RULE_LENGTH = 1024
"""The maximum length of a rule in characters."""

_ARROW = "->"
_PROGRAM = re.compile(r'program:(?:"([^"]+)"|([^\s"]+))', re.IGNORECASE)
_FORM = "Write a rule such as “*.lab.example -> direct”."


class RuleUse(StrEnum):
    """The use of a rule without an upstream."""

    DIRECT = auto()
    """The request goes to its target without an upstream and without a login."""
    BLOCK = auto()
    """The request is answered with a 403."""


@dataclass(frozen=True, slots=True)
class RoutingRule:
    """A routing rule.

    Attributes:
        conditions: The conditions as written.
        hosts: The pattern of the host and port; None for all.
        program: The pattern of the name of the program, in lower case; None for all programs.
        use: The upstream, or the use without an upstream.
    """

    conditions: str
    hosts: HostPattern | None
    program: Wildcard | str | None
    use: Upstream | RuleUse

    @classmethod
    def parse(cls, text: str) -> "RoutingRule":
        """Parse a rule, or raise `ProfileError`, whose text gives the valid form."""
        text = text.strip()
        if len(text) > MAX_RULE_LENGTH or has_invisible(text):
            raise ProfileError(f"This rule is too long or contains invisible characters. {_FORM}")
        conditions, arrow, use = text.partition(_ARROW)
        if not arrow:
            raise ProfileError(f"A rule has an arrow before the proxy. {_FORM}")
        if _ARROW in use:
            raise ProfileError(f"A rule has one arrow. {_FORM}")
        program = _PROGRAM.search(conditions)
        rest = conditions if program is None else _PROGRAM.sub(" ", conditions, count=1)
        hosts = rest.split()
        if program is None and "program:" in rest.lower():
            raise ProfileError('Write a program such as program:git or program:"Two words".')
        if len(hosts) > 1 or "program:" in rest.lower():
            raise ProfileError(f"A rule has one host and one program. {_FORM}")
        if not hosts and program is None:
            raise ProfileError(f"A rule names a host or a program. {_FORM}")
        name = _plain_name(program[1] or program[2]) if program is not None else None
        return cls(
            " ".join(conditions.split()),
            HostPattern.parse(hosts[0]) if hosts else None,
            Wildcard(tuple(name.split("*"))) if name is not None and "*" in name else name,
            _parse_use(use.strip()),
        )

    def __str__(self) -> str:
        """Return the rule in its canonical form."""
        return f"{self.conditions} {_ARROW} {self.use}"

    @classmethod
    def bypass(cls, text: str) -> "RoutingRule":
        """Return the rule for an entry of the bypass list; raise `ProfileError` if it is
        invalid."""
        return cls(text.strip(), HostPattern.parse(text), None, RuleUse.DIRECT)

    def matches(self, host: Host, port: int, program: str) -> bool:
        """Return whether the rule matches a request.

        Args:
            host: The host of the request.
            port: The port of the request.
            program: The name of the program that sends the request; empty if it is not known.
        """
        if self.hosts is not None and not self.hosts.matches(host, port):
            return False
        name = _plain_name(program)
        if isinstance(self.program, Wildcard):
            return self.program.matches(name)
        return self.program in (None, name)


@dataclass(frozen=True, slots=True)
class RuleSet:
    """The rules of a profile: its bypass list, then its routing rules.

    The bypass list comes first, because the system proxy excludes its hosts, too: requests for them
    usually do not reach TrayProxy.

    Attributes:
        rules: The rules in the order of their precedence.
        names_programs: True if a rule depends on the program that sends a request.
    """

    rules: tuple[RoutingRule, ...] = ()
    names_programs: bool = False

    @classmethod
    def of(cls, profile: Profile) -> "RuleSet":
        """Return the rules of a profile; raise `ProfileError` for an invalid rule."""
        rules = (*map(RoutingRule.bypass, profile.bypass), *map(RoutingRule.parse, profile.rules))
        return cls(rules, any(rule.program is not None for rule in rules))

    @classmethod
    def of_bypass(cls, bypass: Iterable[str]) -> "RuleSet":
        """Return the rules of a bypass list; raise `ProfileError` for an invalid entry."""
        return cls(tuple(map(RoutingRule.bypass, bypass)))

    def deciding(self, host: str, port: int, program: str = "") -> RoutingRule | None:
        """Return the rule that decides about a request; None if no rule matches.

        No name is resolved. See `RoutingRule.matches` for the arguments.
        """
        if not self.rules:
            return None
        parsed = Host.parse(host)
        return next((rule for rule in self.rules if rule.matches(parsed, port, program)), None)


def check_rules(rules: Iterable[str]) -> tuple[RoutingRule, ...]:
    """Return parsed routing rules; raise `ProfileError` if one is invalid, or for too many."""
    checked = tuple(map(RoutingRule.parse, rules))
    if len(checked) > MAX_RULES:
        raise ProfileError(f"A profile has at most {MAX_RULES} rules.")
    return checked


def _plain_name(program: str) -> str:
    """Return the name of a program as it is compared with rules, without ``.exe``."""
    return program.lower().removesuffix(".exe")


def _parse_use(text: str) -> Upstream | RuleUse:
    if text.lower() in list(RuleUse):
        return RuleUse(text.lower())
    try:
        return parse_upstream(text)
    except ProfileError as error:
        raise ProfileError(f"After the arrow: direct, block or a proxy. {error}") from None
