"""Strict checks of user input: names, addresses, user names.

Each function raises `ProfileError` for invalid input. The text of the error fits below the input
field, gives the valid form, and quotes no input that may contain a password.
"""

import ipaddress
import re
import unicodedata
from collections.abc import Sequence
from contextlib import suppress
from pathlib import PurePosixPath, PureWindowsPath

from trayproxy.profiles.host_pattern import HostPattern
from trayproxy.profiles.profile import (
    DIRECT_NAME,
    ProfileError,
    ProxyScheme,
    Upstream,
)

MAX_NAME_LENGTH = 100
MAX_USER_LENGTH = 256
MAX_RULE_LENGTH = 255
MAX_PATH_LENGTH = 4096

_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_URL = re.compile(r"(?:(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://)?(?P<authority>[^/?#]*)(?P<rest>.*)")
_AUTHORITY = re.compile(
    r"(?:\[(?P<literal>[^\[\]]*)\]|(?P<host>[^:\[\]]*))(?::(?P<port>[^:\[\]]*))?"
)
_SERVICE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,31}")
"""The first component of a service principal name."""
_PROXY_PATTERN = re.compile(r"(?:[a-z0-9*-]*[.])?(?:[a-z0-9-]+[.])+[a-z0-9-]+|[a-z0-9-]+")
"""At least the last two labels are without ``*``; a single label is the name of one proxy."""
_ZONE = re.compile(r"[A-Za-z0-9._~-]{1,32}")
"""A network interface by its name or number (RFC 4007, section 11.2)."""
_EXAMPLE = "such as proxy.example:8080"

_AMBIGUOUS = frozenset("ßς\u200c\u200d")
"""Characters with different host names in IDNA 2003, which Python implements, and IDNA 2008 (RFC
5894, section 1.3): a password must not be sent to the wrong host."""


def check_name(text: str) -> str:
    """Return the name of a profile without surrounding blanks.

    Raises:
        ProfileError: The name is empty, too long, contains invisible characters, or is the name of
            *Connect directly*.
    """
    name = text.strip()
    if name.casefold() == DIRECT_NAME.casefold():
        raise ProfileError("TrayProxy already has an entry with this name. Choose another name.")
    if not name:
        raise ProfileError("Give the profile a name.")
    if len(name) > MAX_NAME_LENGTH:
        raise ProfileError(f"The name is longer than {MAX_NAME_LENGTH} characters.")
    if has_invisible(name):
        raise ProfileError("The name contains invisible characters. Retype it.")
    return name


def check_user(text: str) -> str:
    r"""Return a user name as typed; it may be empty or contain a domain (``CORP\jdoe``).

    Raises:
        ProfileError: The user name is too long or contains control characters.
    """
    if len(text) > MAX_USER_LENGTH:
        raise ProfileError(f"The user name is longer than {MAX_USER_LENGTH} characters.")
    if has_invisible(text):
        raise ProfileError("The user name contains invisible characters. Retype it.")
    return text


def check_system_user(text: str) -> str:
    """Return the name or number of a user of this computer without surrounding blanks.

    The existence of the user is not checked: settings may be used on several computers.

    Raises:
        ProfileError: The name is empty, too long, or contains blanks or invisible characters.
    """
    user = text.strip()
    if not _is_word(user, MAX_USER_LENGTH):
        raise ProfileError("Write the names of users of this computer, such as _apt.")
    return user


def check_rule(text: str) -> str:
    """Return an entry of *Do not use for* without surrounding blanks.

    Raises:
        ProfileError: The entry is empty, too long, or no pattern of hosts.
    """
    rule = text.strip()
    if not _is_word(rule, MAX_RULE_LENGTH):
        raise ProfileError("Write host names with commas between, such as localhost, *.example.")
    HostPattern.parse(rule)
    return rule


def parse_rules(text: str) -> tuple[str, ...]:
    """Return the entries of *Do not use for*, separated by commas or blanks."""
    return tuple(check_rule(rule) for rule in re.split(r"[,\s]+", text) if rule)


def parse_upstream(text: str) -> Upstream:
    """Return the upstream proxy of ``proxy.example:8080``, ``https://…:8443/`` or ``[::1]:3128``.

    The default scheme is http. ``socks5h``, as in curl, is the same as socks5: names are always
    resolved by the proxy.

    Raises:
        ProfileError: The text has another form, or contains a user name or password.
    """
    parts = _URL.fullmatch(text.strip())
    if not parts or not parts["authority"]:
        raise ProfileError(f"Write the address of the proxy, {_EXAMPLE}.")
    if "@" in parts["authority"]:
        raise ProfileError(
            "Leave the user name and the password out of the address. "
            "TrayProxy asks for the password and keeps it in the keyring."
        )
    scheme = check_scheme(parts["scheme"] or ProxyScheme.HTTP)
    if parts["rest"] not in ("", "/"):
        raise ProfileError(f"Write only the host and the port of the proxy, {_EXAMPLE}.")
    host, port = split_port(parts["authority"])
    if port is None:
        raise ProfileError(f"Add the port, {_EXAMPLE}.")
    return Upstream(check_host(host), check_port(port), scheme)


def check_proxy_pattern(text: str) -> str:
    """Return a pattern of proxies with one login, ``*.proxy.corp.example:8080``, in lower case. It
    may begin with a scheme, ``https://``.

    Raises:
        ProfileError: The pattern has no port, or its host could match proxies of others.
    """
    pattern = text.strip().lower()
    scheme, mark, place = pattern.rpartition("://")
    host, _, port = place.rpartition(":")
    if mark:
        check_scheme(scheme)
    if not _PROXY_PATTERN.fullmatch(host) or not port:
        raise ProfileError("Write proxies with a port, such as *.proxy.corp.example:8080.")
    return f"{scheme}{mark}{host}:{port if port == '*' else check_port(port)}"


def parse_upstreams(text: str) -> tuple[Upstream, ...]:
    """Return several upstream proxies, separated by commas or blanks."""
    return tuple(parse_upstream(address) for address in re.split(r"[,\s]+", text) if address)


def check_scheme(text: str) -> ProxyScheme:
    """Return the protocol for an upstream proxy."""
    name = text.lower()
    try:
        return ProxyScheme.SOCKS5 if name == "socks5h" else ProxyScheme(name)
    except ValueError:
        raise ProfileError("TrayProxy reaches the proxy by http, https or socks5.") from None


def check_ca_file(text: str) -> str:
    """Return the path of a file with certificates as typed, without accessing the file.

    Raises:
        ProfileError: The path is not absolute, is too long, or contains invisible characters.
    """
    path = text.strip()
    if len(path) > MAX_PATH_LENGTH or has_invisible(path):
        raise ProfileError("Write the path of a file with certificates, or choose it.")
    # The service may run with another current directory than the program of the user.
    if path and not (PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute()):
        raise ProfileError("Write the full path of the file, from the root folder on.")
    return path


def check_spn(text: str) -> str:
    """Return a service principal name, ``HTTP/proxy.corp.example``, with the host in its canonical
    form; empty for the default.

    Raises:
        ProfileError: The text has another form. The realm belongs to the settings of Kerberos.
    """
    service, slash, host = text.strip().partition("/")
    if not service and not slash:
        return ""
    if not _SERVICE.fullmatch(service) or "@" in host:
        raise ProfileError("Write the service name as HTTP/proxy.corp.example, without a realm.")
    name, port = split_port(host)
    return f"{service}/{check_host(name)}" + (f":{check_port(port)}" if port is not None else "")


def parse_listen(text: str) -> tuple[str, int]:
    """Return the local address of ``127.0.0.1:3128``, ``[::1]:3128``, ``:3128`` or ``3128``.

    Raises:
        ProfileError: The text has another form, or other computers could reach the address: each
            client uses the sign-in of this user (security.md T3).
    """
    text = text.strip()
    host, port = ("", text) if text.isascii() and text.isdigit() else split_port(text)
    if port is None:
        raise ProfileError("Write an address and a port, such as 127.0.0.1:3128.")
    return check_listen_host(host or "127.0.0.1"), check_port(port, lowest=0)


def check_listen_host(text: str) -> str:
    """Return a loopback address; ``localhost`` is 127.0.0.1, without name resolution."""
    if text.lower() == "localhost":
        return "127.0.0.1"
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ProfileError("Listen on an address of this computer, such as 127.0.0.1.") from None
    if not address.is_loopback:
        raise ProfileError(
            "TrayProxy listens on 127.0.0.1 or [::1] only: everyone who can reach it "
            "uses your sign-in. To let other devices connect: trayproxy devices allow."
        )
    return str(address)


def check_host(text: str) -> str:
    """Return a host in its canonical form: ASCII, lower case, IP literals in their shortest form.

    The text is a DNS name, which may be international, or an IP literal without brackets.
    """
    with suppress(ValueError):
        return _ip_literal(text)
    host = _to_ascii(text)
    labels = host.removesuffix(".").split(".")
    if len(host) > 253 or not all(map(_LABEL.fullmatch, labels)):
        raise ProfileError(f"This is not the name of a computer; write one {_EXAMPLE}.")
    if re.fullmatch(r"[0-9]+|0[xX][0-9A-Fa-f]*", labels[-1]):
        # Resolvers read 127.1 or 0x7f000001 as addresses (inet_aton(3)), unlike people.
        raise ProfileError("Write the IP address in full, such as 10.0.0.41.")
    return host.lower()


def check_use_on(conditions: Sequence[str]) -> tuple[str, ...]:
    """Return the conditions of `Profile.use_on` in their canonical form, each once."""
    if not conditions:
        return ()
    # Here, because few profiles have conditions.
    from trayproxy.profiles.use_on import check_conditions

    return check_conditions(conditions)


def parse_use_on(text: str) -> tuple[str, ...]:
    """Return the conditions of `Profile.use_on`, separated by commas."""
    return check_use_on([part for part in text.split(",") if part.strip()])


def check_port(text: str | int, lowest: int = 1) -> int:
    """Return a port number; the lowest valid number is 0 where it means any free port."""
    digits = str(text)
    if digits.isascii() and digits.isdigit() and len(digits) <= 5 and lowest <= int(digits) < 65536:
        return int(digits)
    raise ProfileError(f"The port is a number from {lowest} to 65535.")


def check_upstream(upstream: Upstream) -> Upstream:
    """Return an upstream proxy with every part in its canonical form."""
    return Upstream(check_host(upstream.host), check_port(upstream.port), upstream.scheme)


def _ip_literal(text: str) -> str:
    """Return an IP literal in its shortest form, or raise ValueError."""
    address, mark, zone = text.partition("%")
    if mark and not _ZONE.fullmatch(zone):
        raise ValueError("the zone is no name of a network interface")
    found = ipaddress.ip_address(address)
    if mark and found.version == 4:
        raise ValueError("only addresses of IPv6 have a zone")
    return f"{found}{mark}{zone}"


def split_port(authority: str) -> tuple[str, str | None]:
    """Return the host, without brackets, and the port of ``host:port``; None without a port.

    Raises:
        ProfileError: An IPv6 address is not in brackets, or the brackets contain something else.
    """
    parts = _AUTHORITY.fullmatch(authority)
    if not parts:
        raise ProfileError("Put an IPv6 address in brackets, such as [::1]:3128.")
    if parts["literal"] is not None:
        address, mark, zone = parts["literal"].partition("%")
        # In a URL the percent sign is escaped (RFC 6874, section 2); people write it unescaped.
        if len(zone) > 2 and zone.startswith("25"):
            zone = zone[2:]
        with suppress(ValueError):
            literal = _ip_literal(f"{address}{mark}{zone}")
            if ":" in address:
                return literal, parts["port"]
        raise ProfileError("Brackets are only for IPv6 addresses, such as [::1]:3128.")
    return parts["host"], parts["port"]


def _to_ascii(host: str) -> str:
    if host.isascii():
        return host
    if _AMBIGUOUS & set(host):
        raise ProfileError("Write this international name in its ASCII form (xn--…).")
    try:
        return host.encode("idna").decode("ascii")
    except UnicodeError:
        raise ProfileError(f"This is not the name of a computer; write one {_EXAMPLE}.") from None


def _is_word(text: str, max_length: int) -> bool:
    has_space = any(map(str.isspace, text))
    return 0 < len(text) <= max_length and not has_space and not has_invisible(text)


def has_invisible(text: str) -> bool:
    """Return whether a text contains characters that are not visible, such as line ends, zero-width
    characters, and controls of the writing direction."""
    # Cc: controls, Cf: bidi and zero-width characters, Cs: surrogates, Zl, Zp: line ends.
    return any(unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"} for char in text)
