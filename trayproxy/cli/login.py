"""``trayproxy login`` and ``trayproxy logout``: save or delete the password of a profile.

The password is read from the terminal without echo, or from standard input; never from an argument,
which every process of the computer could read.
"""

import getpass
import sys

from trayproxy.auth.login import Login
from trayproxy.cli.arguments import add_optional_profile, validated
from trayproxy.cli.output import CommandError, print_message, printable_line, problem_line
from trayproxy.cli.password_input import read_password_line
from trayproxy.cli.settings import find_profile, open_settings
from trayproxy.cli.verb_parser import Arguments, VerbParser
from trayproxy.desktop.hardening import harden
from trayproxy.domain.problem import ExitCode, exit_code_for
from trayproxy.paths import Paths
from trayproxy.profiles.profile import Profile, SignIn

NO_KEYRING = "TP-402"
"""The problem code of a login kept in memory because there is no keyring: not a failure."""
_NO_PASSWORD_TEXTS = {
    SignIn.SSO: "uses your Windows or Kerberos sign-in: there is no password to save.",
    SignIn.NONE: "is set to need no sign-in: there is no password to save.",
}


def declare_login(parser: VerbParser) -> None:
    """Declare ``trayproxy login``."""
    parser.set_defaults(verb=_login)
    add_optional_profile(parser)
    parser.add_argument(
        "--user", metavar="NAME", type=validated("check_user"), help="another user name"
    )
    parser.add_argument(
        "--certificate",
        action="store_true",
        help="the password of the profile's client certificate, not that of the user",
    )
    parser.add_argument(
        "--stdin", action="store_true", help="read the password from standard input, one line"
    )


def declare_logout(parser: VerbParser) -> None:
    """Declare ``trayproxy logout``."""
    parser.set_defaults(verb=_logout)
    add_optional_profile(parser)


def _login(paths: Paths, arguments: Arguments) -> None:
    """Save the password of a profile after the proxy has accepted it.

    Raises:
        CommandError: The password was not saved. The exit code is 4 if the proxy rejected it, 5 if
            the proxy did not respond.
    """
    from_stdin = arguments.stdin
    harden()
    if not from_stdin and not sys.stdin.isatty():
        raise CommandError("There is no terminal for a prompt. Use --stdin.", ExitCode.USAGE)
    with open_settings(paths) as settings:
        profile = find_profile(settings.load(), arguments.profile)
    name = f"“{printable_line(profile.name)}”"
    if arguments.certificate:
        return _save_certificate_password(paths, profile, from_stdin=from_stdin)
    if not profile.takes_password:
        raise CommandError(f"{name} {_NO_PASSWORD_TEXTS[profile.sign_in]}")
    user_name = profile.user if arguments.user is None else arguments.user
    if not user_name and from_stdin:
        raise CommandError(f"{name} has no user name. Give one with --user.", ExitCode.USAGE)
    with open_settings(paths) as settings:
        upstream = settings.upstream_of(profile)
    typed_for = "" if from_stdin else upstream
    if typed_for:
        print_message(f"{name} is {printable_line(typed_for)}.")
    try:
        user_name = user_name or _ask_user()
        password = (
            read_password_line()
            if from_stdin
            else getpass.getpass(f"Password for {printable_line(user_name)}: ")
        )
    except UnicodeDecodeError:
        raise CommandError(f"This terminal does not send {sys.stdin.encoding} text.") from None
    # Opened again: while the user types, no lock must be held.
    with open_settings(paths) as settings:
        problem = settings.save_login(
            profile,
            Login(user_name, password),
            is_typed=not from_stdin,
            typed_for=typed_for,
        )
    if problem is None:
        print_message("The proxy has accepted the password; it is saved.")
        return None
    print_message(
        "The proxy has accepted the password. TrayProxy keeps it in memory until it quits."
    )
    if problem.id != NO_KEYRING:
        raise CommandError.from_problem(problem, exit_code_for(problem))
    return print_message(problem_line(problem))


def _save_certificate_password(paths: Paths, profile: Profile, *, from_stdin: bool) -> None:
    """Save the password of a profile's client certificate after it has opened the file."""
    if not profile.client_certificate:
        raise CommandError(
            f"“{printable_line(profile.name)}” has no client certificate. Add one with: "
            "trayproxy profiles edit NAME --client-certificate FILE"
        )
    if from_stdin:
        password = read_password_line()
    else:
        file = printable_line(profile.client_key or profile.client_certificate)
        password = getpass.getpass(f"Password of {file}: ")
    with open_settings(paths) as settings:
        problem = settings.save_certificate_password(profile, password)
    if problem is None:
        return print_message("The password opens the certificate; it is saved.")
    print_message("The password opens the certificate. TrayProxy keeps it until it quits.")
    if problem.id != NO_KEYRING:
        raise CommandError.from_problem(problem, exit_code_for(problem))
    return print_message(problem_line(problem))


def _logout(paths: Paths, arguments: Arguments) -> None:
    with open_settings(paths) as settings:
        profile = find_profile(settings.load(), arguments.profile)
        settings.forget_login(profile)
    print_message(f"TrayProxy no longer keeps a password of “{printable_line(profile.name)}”.")


def _ask_user() -> str:
    print_message("User name: ", end="")
    user = sys.stdin.readline().strip()
    if not user:
        raise CommandError("A user name is needed; nothing was saved.")
    return user
