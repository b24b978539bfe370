"""``trayproxy import``: add profiles from the settings of other programs.

Passwords that are found are saved in the keyring only after the proxy has accepted them, and they
are tried only after the user has agreed: a wrong password is a failed log-on.
"""

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from trayproxy.auth.login import Login, windows_name
from trayproxy.cli.import_text import json_text, list_lines, removal_text
from trayproxy.cli.output import CommandError, print_line, print_message, printable_line
from trayproxy.cli.service_client import connect_if_running, fetch_status
from trayproxy.cli.settings import open_settings
from trayproxy.cli.verb_parser import Arguments, VerbParser
from trayproxy.desktop.hardening import harden
from trayproxy.desktop.system_name import system_name
from trayproxy.desktop.system_pac.base import SystemSetting
from trayproxy.domain.problem import ExitCode, Problem, exit_code_for
from trayproxy.importers.addresses import port_number
from trayproxy.importers.found import (
    SEARCHED,
    TITLES,
    Found,
    FoundPassword,
    SecretForm,
    Source,
    UnreadableSourceError,
)
from trayproxy.importers.plan import ImportDecision, PlannedProfile, plan
from trayproxy.importers.search import Search
from trayproxy.importers.system import DesktopProxy
from trayproxy.paths import Paths
from trayproxy.profiles.profile import Profile, SignIn
from trayproxy.profiles.store import SettingsError, SettingsStore
from trayproxy.recipes.targets import Computer

_KEYRING_TIMEOUT_S = 60.0
_TRIED_ONCE = "A wrong password counts as one failed log-on."


def declare_import(parser: VerbParser) -> None:
    """Declare ``trayproxy import``."""
    names = ", ".join(SEARCHED)
    parser.add_argument(
        "source",
        metavar="SOURCE",
        nargs="?",
        help=f"{names}, a file of any of these, a file of “trayproxy profiles export”, or the "
        "address of a proxy; default: search all",
    )
    add_import_options(parser)


def add_import_options(parser: VerbParser) -> None:
    """Add the options that ``import`` and ``profiles import`` share, and the verb."""
    parser.set_defaults(verb=_import)
    parser.add_argument(
        "--dry-run", action="store_true", help="only list what was found, and change nothing"
    )
    parser.add_argument("--yes", action="store_true", help="add all new profiles without asking")
    parser.add_argument(
        "--try-passwords",
        action="store_true",
        help="try the passwords that were found, each once, without asking",
    )
    parser.add_argument(
        "--json", action="store_true", help='for programs; "schema" is 1; never asks'
    )


def _import(paths: Paths, arguments: Arguments) -> int:
    can_ask = sys.stdin.isatty() and not arguments.json
    if not (arguments.dry_run or arguments.yes or can_ask):
        raise CommandError(
            "There is no terminal for questions. Use --yes or --dry-run.", ExitCode.USAGE
        )
    harden()
    found = _find(paths, arguments.source)
    with open_settings(paths) as settings:
        profiles = settings.load().profiles
    is_search = arguments.source is None
    planned = plan(found.profiles, profiles, _own_ports(paths), skips_loopback=is_search)
    if arguments.json:
        print_line(json_text(planned, found))
    else:
        for line in list_lines(planned, found):
            print_line(line)
    for error in found.errors:
        print_message(f"{printable_line(str(error))}.")
    if not planned:
        print_message("No settings of a proxy were found.")
        return ExitCode.FAILED if found.errors or not is_search else ExitCode.DONE
    if arguments.dry_run:
        return ExitCode.DONE
    return _add(paths, planned, arguments, can_ask=can_ask)


def _find(paths: Paths, source: str | None) -> Found:
    """Return the found settings.

    Raises:
        CommandError: The file cannot be read, or has an unknown format.
    """
    search = Search(_computer(), _running_commands, lambda: _desktop_proxy(paths))
    if source is None:
        return search.all()
    if source in SEARCHED:
        return search.one(Source(source))
    try:
        return search.file(source)
    except UnreadableSourceError as error:
        raise CommandError(f"{printable_line(str(error), 700)}. Nothing was imported.") from None


def _computer() -> Computer:
    home = str(Path.home())
    return Computer(system_name(), os.environ, home, os.path.lexists)


def _running_commands(programs: Iterable[str]) -> Iterable[tuple[str, ...]]:
    from trayproxy.desktop.running_commands import running_commands

    return running_commands(tuple(programs))


def _desktop_proxy(paths: Paths) -> DesktopProxy:
    from trayproxy.desktop.system_pac.factory import read_system_login, read_system_setting
    from trayproxy.system_settings.entries import TargetError

    own = ((host, port) for host in ("127.0.0.1", "::1") for port in _own_ports(paths))
    try:
        setting = read_system_setting(paths.system_proxy_file, own)
    except TargetError as error:
        return DesktopProxy(SystemSetting(reason=str(error)))
    return DesktopProxy(setting, *read_system_login(paths.system_proxy_file))


def _own_ports(paths: Paths) -> set[int]:
    """Return the ports at which TrayProxy listens, or will listen."""
    ports = set()
    try:
        ports.add(SettingsStore(paths.config_file).load().listen.port)
    except SettingsError:
        pass  # The settings are reported where they are needed.
    client = connect_if_running(paths)
    if client is not None:
        with client:
            ports.add(port_number(fetch_status(client).address) or 0)
    return ports


def _add(
    paths: Paths, planned: Sequence[PlannedProfile], arguments: Arguments, *, can_ask: bool
) -> int:
    """Add the new profiles, and try their passwords; return the exit code."""
    chosen = _add_profiles(paths, planned, asks=not arguments.yes)
    code = int(ExitCode.DONE)
    tried: set[str] = set()
    failed: set[str] = set()
    for each, profile in chosen:
        password = each.found.password
        if password is not None:
            may_ask = can_ask and not arguments.yes
            if profile.id in tried:
                # Two wrong passwords of one user would be two failed log-ons.
                print_message(f"Another password for {_name(profile)} was tried already.")
            elif _account(each.found.user) in failed:
                # Proxies of one company usually check passwords at the same directory.
                print_message(
                    f"The password for {_name(profile)} was not tried: a password of this user was "
                    "not accepted before."
                )
            elif arguments.try_passwords or (may_ask and _may_try(profile, password)):
                tried.add(profile.id)
                code = _try_password(paths, profile, each.found.user, password, failed) or code
            if advice := removal_text(each.found.source, password):
                print_message(advice)
        _tell_address(each)
    return code


def _add_profiles(
    paths: Paths, planned: Sequence[PlannedProfile], *, asks: bool
) -> list[tuple[PlannedProfile, Profile]]:
    """Add the new profiles; return the settings whose profile exists, with this profile."""
    chosen: list[tuple[PlannedProfile, Profile]] = []
    declined: set[str] = set()
    for each in planned:
        profile = each.profile
        if profile is None or profile.id in declined:
            continue
        if each.decision is ImportDecision.NEW:
            if asks and not _confirms(f"Add {_name(profile)}?"):
                declined.add(profile.id)
                continue
            with open_settings(paths) as settings:
                settings.save(profile)
            print_message(f"Added {_name(profile)}.")
        chosen.append((each, profile))
    if not any(each.decision is ImportDecision.NEW for each, _ in chosen):
        print_message("No profile was added.")
    return chosen


def _may_try(profile: Profile, password: FoundPassword) -> bool:
    if profile.sign_in is not SignIn.PASSWORD or profile.upstream is None:
        return False
    where = printable_line(str(password.place))
    keyring = password.form is SecretForm.KEYRING
    verb = (
        f"Read the password of {where} in the keyring, and try it"
        if keyring
        else (f"Try the password found in {where}")
    )
    return _confirms(f"{verb} at {profile.upstream} now? {_TRIED_ONCE}")


def _account(user: str) -> str:
    r"""Return the name of a user without its domain, in lower case: ``jdoe`` of ``CORP\JDoe`` and
    ``jdoe@corp.example``."""
    return windows_name(user).rpartition("\\")[2].partition("@")[0].casefold()


def _try_password(
    paths: Paths, profile: Profile, user: str, password: FoundPassword, failed: set[str]
) -> int:
    """Try a password once, and save it if the proxy accepts it; return the exit code. Add the
    account to `failed` if the proxy has not accepted the password."""
    name = _name(profile)
    if profile.upstream is None:
        print_message(
            f"The PAC script of {name} names the proxies: TrayProxy asks for the password of each."
        )
        return ExitCode.DONE
    if not user or profile.sign_in is not SignIn.PASSWORD:
        print_message(f"{name} needs no password, or has no user name: none was tried.")
        return ExitCode.DONE
    secret = password.secret
    if password.form is SecretForm.KEYRING:
        secret = _secret_in_keyring(password.place.name, user)
    if not secret:
        print_message(f"There is no password for {printable_line(user)} to try.")
        return ExitCode.DONE
    try:
        # Not typed: a password that was rejected before is not sent again.
        with open_settings(paths) as settings:
            problem = settings.save_login(profile, Login(user, secret), is_typed=False)
    except CommandError as error:
        failed.add(_account(user))
        print_message(f"The password for {name} was not saved. {error.message}")
        return error.exit_code
    return _report_saved(name, problem)


def _report_saved(name: str, problem: Problem | None) -> int:
    if problem is None:
        print_message(f"The proxy has accepted the password for {name}; it is in the keyring.")
        return ExitCode.DONE
    print_message(
        f"The proxy has accepted the password for {name}. TrayProxy keeps it in memory until it "
        f"quits: {printable_line(problem.body, 700)}"
    )
    return exit_code_for(problem)


def _secret_in_keyring(service: str, user: str) -> str:
    """Return the password of another program's entry in the keyring; empty if there is none."""
    from trayproxy.desk.keyring_store import KeyringStore

    try:
        login = KeyringStore().find_entry(service, user).result(_KEYRING_TIMEOUT_S).login
    except TimeoutError:
        print_message("The keyring does not answer. (TP-403)")
        return ""
    return "" if login is None else login.password


def _tell_address(planned: PlannedProfile) -> None:
    found = planned.found
    if planned.decision is ImportDecision.NEW and found.listens_at:
        title, port = TITLES[found.source], found.listens_at.rpartition(":")[2]
        print_message(
            f"Programs whose proxy is {found.listens_at} still use {title}. Quit {title}; then set "
            f"these programs to TrayProxy's address, or TrayProxy's port to {port}."
        )


def _confirms(question: str) -> bool:
    print_message(f"{question} [y/N] ", end="")
    return sys.stdin.readline().strip().lower().startswith("y")


def _name(profile: Profile) -> str:
    return f"“{printable_line(profile.name)}”"
