"""Types and options that the arguments of several verbs share."""

import argparse
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from trayproxy.cli.verb_parser import VerbParser

if TYPE_CHECKING:
    from trayproxy.profiles.pac_source import PacSource
    from trayproxy.profiles.profile import Upstream


def validated(function: str) -> Callable[[str], Any]:
    """Return an argparse type that applies a function of `trayproxy.profiles.validate`."""

    def convert(text: str) -> Any:
        from trayproxy.profiles import validate
        from trayproxy.profiles.profile import ProfileError

        try:
            return getattr(validate, function)(text)
        except ProfileError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert


def proxy_or_pac(text: str) -> "Upstream | PacSource":
    """Return the upstream or the source of the PAC script that an address means."""
    from trayproxy.profiles.pac_address import looks_like_pac, parse_pac_source
    from trayproxy.profiles.profile import ProfileError

    if not looks_like_pac(text):
        upstream: Upstream = validated("parse_upstream")(text)
        return upstream
    try:
        return parse_pac_source(text)
    except ProfileError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def web_address(text: str) -> str:
    """Return a web address or a host with a port as typed; the service parses it."""
    if not text.isprintable():
        raise argparse.ArgumentTypeError("Write a web address, or HOST:PORT.")
    return text


def proxy_patterns(text: str) -> tuple[str, ...]:
    """Return the patterns of proxies in a text with commas between them."""
    check = validated("check_proxy_pattern")
    return tuple(check(pattern) for pattern in text.split(",") if pattern.strip())


def existing_file(path: str) -> str:
    """Return the absolute path of an existing file; the service may run in another folder."""
    whole = os.path.abspath(path)
    if not os.path.isfile(whole):
        raise argparse.ArgumentTypeError("there is no such file")
    checked: str = validated("check_ca_file")(whole)
    return checked


def existing_file_or_empty(path: str) -> str:
    """Return an empty path unchanged, or the absolute path of an existing file."""
    return existing_file(path) if path else ""


def add_optional_profile(parser: VerbParser, metavar: str = "PROFILE") -> None:
    """Add the name of a profile, by default that of the active profile."""
    parser.add_argument("profile", metavar=metavar, nargs="?", help="default: the profile in use")


def add_sign_in_options(parser: VerbParser, when: str = "") -> None:
    """Add the options ``--sign-in`` and ``--method``; their help texts begin with `when`."""
    parser.add_argument(
        "--sign-in",
        choices=["password", "sso", "none"],
        help=f"{when}sso: your Windows or Kerberos sign-in, without a password (default: password)",
    )
    parser.add_argument(
        "--method",
        choices=["automatic", "negotiate", "ntlm", "digest", "basic"],
        help=f"{when}use this method only (default: automatic, the strongest offered method)",
    )
