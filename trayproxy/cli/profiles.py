"""``trayproxy profiles``: list, add, show, edit, remove and use profiles."""

import argparse
import sys
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from trayproxy.cli.arguments import (
    add_optional_profile,
    add_sign_in_options,
    existing_file,
    existing_file_or_empty,
    proxy_or_pac,
    proxy_patterns,
    validated,
)
from trayproxy.cli.output import CommandError, print_line, print_message, printable_line
from trayproxy.cli.settings import find_profile, open_settings
from trayproxy.cli.verb_parser import Arguments, VerbParser
from trayproxy.control.texts import METHOD_NAMES
from trayproxy.domain.problem import ExitCode
from trayproxy.paths import Paths
from trayproxy.profiles.consistency import make_id
from trayproxy.profiles.pac_source import PacSource
from trayproxy.profiles.profile import (
    DIRECT_ID,
    DIRECT_NAME,
    Encoding,
    Method,
    Profile,
    ProfileError,
    SignIn,
)

_SIGN_IN_TEXTS = {
    SignIn.PASSWORD: "user name and password",
    SignIn.SSO: "your Windows or Kerberos sign-in, no password",
    SignIn.NONE: "none",
}
_ENCODING_TEXTS = {Encoding.LATIN_1: "Latin-1"}
_KINDS: dict[str, Callable[[Any], Any]] = {
    "sign_in": SignIn,
    "method": Method,
    "encoding": Encoding,
    "rules": lambda rules: tuple(filter(None, rules)),
}
_PROFILE_OPTIONS = (
    "user",
    "sign_in",
    "method",
    "encoding",
    "bypass",
    "fallbacks",
    "ca_file",
    "spn",
    "canonical_name",
    "get_ticket",
    "client_certificate",
    "client_key",
    "rules",
    "use_on",
    "else_direct",
    "shared_sign_in",
)
"""The attributes that `_add_profile_options` adds; the value is None if an option is absent."""


def declare_profiles(parser: VerbParser) -> None:
    """Declare ``trayproxy profiles`` and its verbs."""
    parser.set_defaults(verb=_list)
    for name, declare, summary, example in (
        ("list", _declare_list, "list all profiles; * is in use", "list"),
        ("show", _declare_show, "show a profile", "show Office"),
        ("add", _declare_add, "add a profile", "add Office proxy.example:8080 --user jdoe"),
        (
            "edit",
            _declare_edit,
            "change a profile; all other values stay",
            "edit Office --sign-in sso --method negotiate",
        ),
        ("remove", _declare_remove, "delete a profile", "remove Lab"),
        ("use", _declare_use, "choose the profile in use", "use Office"),
        ("export", _declare_export, "write the profiles to a file", "export profiles.toml"),
        ("import", _declare_import, "add the profiles of a file", "import profiles.toml"),
    ):
        parser.add_verb(name, summary, f"trayproxy profiles {example}", declare)


def _add_profile_options(parser: VerbParser, file: Callable[[str], str]) -> None:
    parser.add_argument("--user", metavar="NAME", type=validated("check_user"), help="user name")
    add_sign_in_options(parser)
    parser.add_argument(
        "--encoding",
        choices=["utf-8", "latin-1"],
        help="of user name and password, for a proxy that names no encoding (default: utf-8)",
    )
    parser.add_argument(
        "--bypass",
        metavar="HOSTS",
        type=validated("parse_rules"),
        help="hosts to reach without the proxy, such as localhost,*.example",
    )
    parser.add_argument(
        "--fallback",
        dest="fallbacks",
        metavar="ADDRESSES",
        type=validated("parse_upstreams"),
        help="proxies to use while the proxy cannot be reached, separated by commas",
    )
    parser.add_argument(
        "--rule",
        dest="rules",
        action="append",
        metavar="RULE",
        type=_rule,
        help="another proxy, direct or block for some hosts or programs, such as "
        "“*.lab.example -> http://lab.example:3128”; can be given several times, the first rule "
        "that matches decides; an empty rule removes all rules",
    )
    parser.add_argument(
        "--shared-sign-in",
        metavar="PATTERNS",
        type=proxy_patterns,
        help="proxies of a PAC script with one password, such as *.proxy.example:8080; every other "
        "proxy has a password of its own",
    )
    _add_certificate_options(parser, file)
    _add_kerberos_options(parser)
    parser.add_argument(
        "--use-on",
        metavar="NETWORKS",
        type=validated("parse_use_on"),
        help="use the profile by itself on networks such as wifi:Branch-*,gateway:10.1.0.1,"
        "dns:corp.example,vpn:tun* or, if its proxy can be reached, answers",
    )
    parser.add_argument(
        "--else-direct",
        action=argparse.BooleanOptionalAction,
        help="connect directly on all other networks",
    )


def _add_certificate_options(parser: VerbParser, file: Callable[[str], str]) -> None:
    parser.add_argument(
        "--ca-file", metavar="FILE", type=file, help="the company's certificate, for an https proxy"
    )
    parser.add_argument(
        "--client-certificate",
        metavar="FILE",
        type=file,
        help="your certificate, for an https proxy that demands one (PEM, or PKCS #12)",
    )
    parser.add_argument(
        "--client-key", metavar="FILE", type=file, help="the key of your certificate (PEM)"
    )


def _add_kerberos_options(parser: VerbParser) -> None:
    parser.add_argument(
        "--spn",
        metavar="NAME",
        type=validated("check_spn"),
        help="the proxy's service name for Kerberos, such as HTTP/proxy.corp.example",
    )
    parser.add_argument(
        "--canonical-name",
        action=argparse.BooleanOptionalAction,
        help="use the proxy's canonical name in the DNS for Kerberos",
    )
    parser.add_argument(
        "--get-ticket",
        action=argparse.BooleanOptionalAction,
        help="with --sign-in sso: while you have no Kerberos ticket, get one with a saved password",
    )


def _rule(text: str) -> str:
    """Return a routing rule in its canonical form; an empty text unchanged."""
    from trayproxy.profiles.rules import RoutingRule

    try:
        return str(RoutingRule.parse(text)) if text.strip() else ""
    except ProfileError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _declare_list(parser: VerbParser) -> None:
    parser.set_defaults(verb=_list)


def _list(paths: Paths, arguments: Arguments) -> None:
    """Print all profiles; an asterisk marks the active profile."""
    with open_settings(paths) as settings:
        config = settings.load()
    if not config.profiles:
        print_message(
            "There are no profiles yet. Add one: trayproxy profiles add Office proxy.example:8080"
        )
        return
    width = max(len(printable_line(profile.name)) for profile in config.profiles)
    for profile in config.profiles:
        mark = "*" if profile.id == config.active else " "
        name, user = printable_line(profile.name), printable_line(profile.user)
        print_line(f"{mark} {name:<{width}}  {printable_line(profile.address)}  {user}".rstrip())
    print_line(f"{'*' if config.is_direct else ' '} {DIRECT_NAME}")


def _declare_show(parser: VerbParser) -> None:
    parser.set_defaults(verb=_show)
    add_optional_profile(parser, "NAME")


def _show(paths: Paths, arguments: Arguments) -> None:
    """Print one profile; without a name, the active profile."""
    with open_settings(paths) as settings:
        config = settings.load()
    profile = find_profile(config, arguments.profile)
    rows = {
        "Name": printable_line(profile.name),
        "Proxy": str(profile.upstream) if profile.upstream is not None else "",
        "Automatic": printable_line(str(profile.pac)) if profile.pac is not None else "",
        "Shared": ", ".join(profile.shared_sign_in),
        "Otherwise": ", ".join(map(str, profile.fallbacks)),
        "Certificate": printable_line(profile.ca_file),
        "Your cert.": printable_line(profile.client_certificate),
        "Its key": printable_line(profile.client_key),
        "Sign-in": _SIGN_IN_TEXTS[profile.sign_in],
        "Ticket": "with a saved password, while you have none" if profile.get_ticket else "",
        "Method": METHOD_NAMES.get(profile.method, ""),
        "Service name": _service_name(profile),
        "Encoding": _ENCODING_TEXTS.get(profile.encoding, ""),
        "User name": printable_line(profile.user) or "not set",
        "Rules": "; ".join(map(printable_line, profile.rules)),
        "Not used for": ", ".join(map(printable_line, profile.bypass)) or "nothing",
        "Use on": printable_line(", ".join(profile.use_on)),
        "Elsewhere": "connect directly" if profile.use_on and profile.else_direct else "",
        "In use": "yes" if profile.id == config.active else "no",
        "Id": profile.id,
    }
    for title, text in rows.items():
        if text:
            print_line(f"{title + ':':<14}{text}")


def _service_name(profile: Profile) -> str:
    return profile.spn or ("the canonical name of the proxy" if profile.canonical_name else "")


def _declare_add(parser: VerbParser) -> None:
    parser.set_defaults(verb=_add)
    parser.add_argument("name", metavar="NAME", type=validated("check_name"))
    parser.add_argument(
        "upstream",
        metavar="ADDRESS",
        type=proxy_or_pac,
        help="the company's proxy, HOST:PORT, for an HTTPS or SOCKS5 proxy with https:// or "
        "socks5://; or a PAC address such as http://pac.example/proxy.pac, a file, system or wpad",
    )
    _add_profile_options(parser, existing_file)
    parser.add_argument("--use", action="store_true", help="use the profile now (as the first)")


def _add(paths: Paths, arguments: Arguments) -> None:
    name = arguments.name
    changes = _given(arguments, (*_PROFILE_OPTIONS, "upstream"))
    with open_settings(paths) as settings:
        taken = [profile.id for profile in settings.load().profiles]
        made = replace(Profile(make_id(name, taken), name, None), **changes)
        settings.save(made)
        if arguments.use:
            settings.use(made.id)
        in_use = made.id == settings.load().active
    ending = ", which is in use now." if in_use else "."
    print_message(f"Added “{printable_line(made.name)}”{ending}")


def _given(arguments: Arguments, options: Iterable[str]) -> dict[str, Any]:
    """Return the values of the given options, by the names of the fields of a profile."""
    given = {
        option: _KINDS.get(option, lambda value: value)(value)
        for option in options
        if (value := getattr(arguments, option)) is not None
    }
    if isinstance(given.get("upstream"), PacSource):
        given |= {"upstream": None, "pac": given["upstream"]}
    elif "upstream" in given:
        given["pac"] = None
    return given


def _declare_edit(parser: VerbParser) -> None:
    parser.set_defaults(verb=_edit)
    parser.add_argument("profile", metavar="NAME")
    parser.add_argument("--name", metavar="NAME", type=validated("check_name"), help="another name")
    parser.add_argument(
        "--address",
        dest="upstream",
        metavar="ADDRESS",
        type=proxy_or_pac,
        help="another proxy, which needs a new sign-in, or a PAC address",
    )
    _add_profile_options(parser, existing_file_or_empty)


def _edit(paths: Paths, arguments: Arguments) -> None:
    changes = _given(arguments, (*_PROFILE_OPTIONS, "name", "upstream"))
    if not changes:
        raise CommandError(
            "Give at least one change; see: trayproxy profiles edit --help", ExitCode.USAGE
        )
    if changes.get("sign_in", SignIn.SSO) is not SignIn.SSO:
        changes.setdefault("get_ticket", False)  # It applies to the own sign-in only.
    with open_settings(paths) as settings:
        changed = replace(find_profile(settings.load(), arguments.profile), **changes)
        settings.save(changed)
    print_message(f"Changed “{printable_line(changed.name)}”.")


def _declare_remove(parser: VerbParser) -> None:
    parser.set_defaults(verb=_remove)
    parser.add_argument("profile", metavar="NAME")
    parser.add_argument(
        "--keep-password", action="store_true", help="leave its password in the keyring"
    )


def _remove(paths: Paths, arguments: Arguments) -> None:
    """Delete a profile; at a terminal, delete the active profile only after a confirmation."""
    with open_settings(paths) as settings:
        config = settings.load()
    profile = find_profile(config, arguments.profile)
    if profile.id == config.active and sys.stdin.isatty():
        _confirm_removal(profile)
    # Opened again: other commands must not wait for the lock while the user decides.
    with open_settings(paths) as settings:
        profile = find_profile(settings.load(), arguments.profile)
        settings.delete(profile, forget=not arguments.keep_password)
        remaining = settings.load()
    print_message(f"Removed “{printable_line(profile.name)}”.")
    if not remaining.profiles:
        print_message(
            "No profile is left. Add one: trayproxy profiles add Office proxy.example:8080"
        )
    elif not remaining.active:
        print_message("No profile is in use now. Choose one: trayproxy profiles use")


def _confirm_removal(profile: Profile) -> None:
    print_message(
        f"“{printable_line(profile.name)}” is in use. Until you choose another profile, programs "
        "cannot connect through TrayProxy."
    )
    print_message("Remove it? [y/N] ", end="")
    if not sys.stdin.readline().strip().lower().startswith("y"):
        raise CommandError("Nothing was removed.")


def _declare_export(parser: VerbParser) -> None:
    from trayproxy.cli.profile_export import declare_export

    declare_export(parser)


def _declare_import(parser: VerbParser) -> None:
    from trayproxy.cli.import_command import add_import_options

    parser.add_argument(
        "source", metavar="FILE", help="a file of “trayproxy profiles export”, or of “import”"
    )
    add_import_options(parser)


def _declare_use(parser: VerbParser) -> None:
    parser.set_defaults(verb=_use)
    parser.add_argument("profile", metavar="NAME")


def _use(paths: Paths, arguments: Arguments) -> None:
    """Activate a profile, or make programs connect directly."""
    with open_settings(paths) as settings:
        config = settings.load()
        if config.names_direct(arguments.profile):
            settings.use(DIRECT_ID)
            print_message("Programs connect directly now, without a proxy.")
            return
        profile = find_profile(config, arguments.profile)
        settings.use(profile.id)
    print_message(f"“{printable_line(profile.name)}” is in use.")
