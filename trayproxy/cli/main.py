"""The entry point of the command line: the verbs and their options (ux §7.1).

This module imports only the modules needed by every verb; each verb's function imports the others.
"""

import argparse
import gc
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from trayproxy import __version__
from trayproxy.cli.output import CommandError, print_line, print_message, printable_line
from trayproxy.cli.streams import (
    discard_output,
    discard_unwritten_errors,
    ensure_streams,
    replace_unencodable,
)
from trayproxy.domain.problem import ExitCode
from trayproxy.paths import HOME_VARIABLE, PathError, Paths, locate

Arguments = argparse.Namespace
Verb = Callable[[Paths, Arguments], int | None]


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and run its verb.

    Args:
        arguments: The arguments without the program's name; None for those of this process.

    Returns:
        The exit code (ux §7.1).
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if None in (sys.stdin, sys.stdout, sys.stderr):
        ensure_streams()
    replace_unencodable()
    try:
        parser = _parser()
        _check_verbs(parser, given)
        parsed, unknown = parser.parse_known_args(given)
        if unknown:
            parsed.parser.error(f"unrecognized arguments: {' '.join(map(printable_line, unknown))}")
        verb: Verb = parsed.verb
        paths = locate()
        _make_home_private(paths)
        return verb(paths, parsed) or ExitCode.DONE
    except CommandError as error:
        print_message(error.message)
        return error.exit_code
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        # The reader of the output has closed the pipe.
        discard_output()
        return ExitCode.DONE
    finally:
        discard_unwritten_errors()


def _make_home_private(paths: Paths) -> None:
    if HOME_VARIABLE not in os.environ:
        return
    from trayproxy.desktop.private_folder.factory import make_home_private

    try:
        make_home_private(paths)
    except PathError as error:
        raise CommandError(f"{error}.") from None


# --- The verbs -----------------------------------------------------------------------------------


def _tray(paths: Paths, arguments: Arguments) -> int:
    from trayproxy.cli.start import run_tray

    return run_tray(paths, ["--background"] if arguments.background else [])


def _run(paths: Paths, arguments: Arguments) -> int:
    given = (
        arguments.user,
        arguments.password_stdin,
        arguments.ca_file,
        arguments.sign_in,
        arguments.method,
    )
    if any(given) and arguments.upstream is None:
        words = "--user, --password-stdin, --ca-file, --sign-in and --method belong to --upstream."
        raise CommandError(words, ExitCode.USAGE)
    if arguments.password_stdin and not arguments.user:
        raise CommandError("--password-stdin needs --user.", ExitCode.USAGE)
    # Garbage collections during the imports would take a tenth of the start-up time.
    gc.disable()
    try:
        from trayproxy.service.lazy_openssl import import_without_openssl

        import_without_openssl()
        from trayproxy.cli.run import run
        from trayproxy.options import RunOptions
        from trayproxy.profiles.profile import Method, SignIn
    finally:
        gc.enable()
    # The loaded modules are permanent: exclude them from later collections.
    gc.freeze()
    options = RunOptions(
        listen=arguments.listen,
        profile_name=arguments.profile,
        upstream=arguments.upstream,
        user=arguments.user or "",
        no_prompt=arguments.no_prompt,
        wait_for_port=arguments.stay,
        ca_file=arguments.ca_file or "",
        sign_in=SignIn(arguments.sign_in or SignIn.PASSWORD),
        method=Method(arguments.method or Method.AUTOMATIC),
    )
    return run(
        paths,
        options,
        password_from_stdin=arguments.password_stdin,
        quiet=arguments.quiet,
    )


def _status(paths: Paths, arguments: Arguments) -> int:
    from trayproxy.cli.status import show

    return show(paths, json=arguments.json)


def _profiles_list(paths: Paths, arguments: Arguments) -> None:
    from trayproxy.cli.profiles import show_list

    show_list(paths)


def _profiles_show(paths: Paths, arguments: Arguments) -> None:
    from trayproxy.cli.profiles import show_one

    show_one(paths, arguments.profile)


def _profiles_add(paths: Paths, arguments: Arguments) -> None:
    from trayproxy.cli.profiles import ProfileChange, add

    change = ProfileChange(**{part: getattr(arguments, part) for part in _PROFILE_OPTIONS})
    add(paths, arguments.name, arguments.upstream, change, use=arguments.use)


def _profiles_edit(paths: Paths, arguments: Arguments) -> None:
    from trayproxy.cli.profiles import ProfileChange, edit

    parts = {part: getattr(arguments, part) for part in (*_PROFILE_OPTIONS, "name", "upstream")}
    if all(value is None for value in parts.values()):
        raise CommandError(
            "Say what to change; see: trayproxy profiles edit --help", ExitCode.USAGE
        )
    edit(paths, arguments.profile, ProfileChange(**parts))


def _profiles_remove(paths: Paths, arguments: Arguments) -> None:
    from trayproxy.cli.profiles import remove

    remove(paths, arguments.profile, forget=not arguments.keep_password)


def _profiles_use(paths: Paths, arguments: Arguments) -> None:
    from trayproxy.cli.profiles import use

    use(paths, arguments.profile)


def _test(paths: Paths, arguments: Arguments) -> int:
    from trayproxy.cli.check import run_test

    return run_test(paths, arguments.profile, arguments.url, json=arguments.json)


def _login(paths: Paths, arguments: Arguments) -> None:
    from trayproxy.cli.login import login

    login(paths, arguments.profile, arguments.user, from_stdin=arguments.stdin)


def _logout(paths: Paths, arguments: Arguments) -> None:
    from trayproxy.cli.login import logout

    logout(paths, arguments.profile)


def _show(paths: Paths, arguments: Arguments) -> None:
    from trayproxy.cli.window_commands import show

    show(paths)


def _quit(paths: Paths, arguments: Arguments) -> None:
    from trayproxy.cli.window_commands import quit_service

    quit_service(paths)


def _env(paths: Paths, arguments: Arguments) -> None:
    from trayproxy.cli.env import show

    show(paths, arguments.shell, unset=arguments.unset)


def _demo(paths: Paths, arguments: Arguments) -> int:
    from trayproxy.demo.main import main as demo

    return demo(print_line)


def _debug_info(paths: Paths, arguments: Arguments) -> None:
    from trayproxy.cli.debug_info import show

    show(paths)


# --- The parser ----------------------------------------------------------------------------------


class _Parser(argparse.ArgumentParser):
    """An argument parser with verbs; it reports errors in one line.

    Attributes:
        verbs: The parser of each verb; empty if the parser has no verbs.
    """

    def __init__(self, **settings: Any) -> None:
        # An abbreviation could become ambiguous when an option is added.
        super().__init__(allow_abbrev=False, **settings)
        self.verbs: dict[str, _Parser] = {}

    def error(self, message: str) -> NoReturn:
        """Print a usage error, and exit."""
        self.exit(ExitCode.USAGE, f"{self.prog}: {message}\nTry: {self.prog} --help\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        """Print the help, the version or an error; argparse writes all its output with this
        method."""
        write = print_line if file is sys.stdout else print_message
        write(message.removesuffix("\n"))


def _check_verbs(parser: _Parser, given: Sequence[str]) -> None:
    """Report an unknown verb with the nearest known verb; options before a verb take no values."""
    for word in given:
        if not parser.verbs:
            return
        if word.startswith("-"):
            continue
        if word not in parser.verbs:
            import difflib

            near = difflib.get_close_matches(word, parser.verbs, 1)
            known = ", ".join(parser.verbs)
            hint = f"did you mean “{near[0]}”?" if near else f"there are {known}."
            parser.error(f"there is no “{printable_line(word)}”; {hint}")
        parser = parser.verbs[word]


def _parser() -> _Parser:
    parser = _Parser(
        prog="trayproxy",
        description="A local proxy that signs in to your company's proxy. "
        "Without a verb: the tray icon.",
        epilog="Example: trayproxy profiles add Office proxy.example:8080",
    )
    parser.add_argument("--version", action="version", version=f"trayproxy {__version__}")
    parser.add_argument(
        "--debug-info",
        dest="verb",
        action="store_const",
        const=_debug_info,
        help="print versions and settings for a report",
    )
    parser.add_argument("--background", action="store_true", help="start without showing a window")
    parser.set_defaults(verb=_tray, parser=parser)
    verbs = _Verbs(parser)
    _add_run(verbs)
    status = verbs.add("status", _status, "show what TrayProxy knows", "trayproxy status --json")
    status.add_argument("--json", action="store_true", help='for programs; "schema" is 1')
    _add_profiles(verbs)
    _add_login_verbs(verbs)
    _add_test(verbs)
    verbs.add("show", _show, "show the window of the running TrayProxy", "trayproxy show")
    verbs.add("quit", _quit, "end the running TrayProxy", "trayproxy quit")
    _add_env(verbs)
    verbs.add(
        "demo", _demo, "try it with a proxy of its own, touching nothing of yours", "trayproxy demo"
    )
    return parser


class _Verbs:
    """The verbs of a parser."""

    def __init__(self, parser: _Parser) -> None:
        self._parser = parser
        self._actions = parser.add_subparsers(title="verbs", metavar="VERB")

    def add(self, name: str, verb: Verb, summary: str, example: str) -> _Parser:
        """Add a verb with a one-line help text and an example."""
        made: _Parser = self._actions.add_parser(
            name,
            help=summary,
            description=f"{summary[:1].upper()}{summary[1:]}.",
            epilog=f"Example: {example}",
        )
        made.set_defaults(verb=verb, parser=made)
        self._parser.verbs[name] = made
        return made


def _add_run(verbs: _Verbs) -> None:
    run = verbs.add(
        "run",
        _run,
        "run the service in this terminal, which also asks",
        "trayproxy run --upstream proxy.example:8080 --user jdoe",
    )
    run.add_argument(
        "--listen",
        metavar="HOST:PORT",
        type=_validated("parse_listen"),
        help="port 0: any free one",
    )
    which = run.add_mutually_exclusive_group()
    which.add_argument("--profile", metavar="NAME", help="use this profile in this run")
    which.add_argument(
        "--upstream",
        metavar="URL",
        type=_validated("parse_upstream"),
        help="use this proxy in this run; nothing is saved",
    )
    run.add_argument(
        "--ca-file",
        metavar="FILE",
        type=_existing_file,
        help="with --upstream: the company's certificate, for an https proxy",
    )
    run.add_argument(
        "--user", metavar="NAME", type=_validated("check_user"), help="with --upstream"
    )
    _add_sign_in_options(run, "with --upstream: ")
    run.add_argument(
        "--password-stdin",
        action="store_true",
        help="with --upstream and --user: read the password, one line",
    )
    run.add_argument("--no-prompt", action="store_true", help="ask nobody, ever")
    run.add_argument(
        "--quiet",
        action="store_true",
        help="log to the log file only; a terminal that asks shows no log",
    )
    # For the tray: it can show the problem only while the service is running.
    run.add_argument("--stay", action="store_true", help=argparse.SUPPRESS)


def _add_profiles(verbs: _Verbs) -> None:
    profiles = verbs.add(
        "profiles", _profiles_list, "list, add and choose profiles", "trayproxy profiles use Office"
    )
    inner = _Verbs(profiles)
    inner.add("list", _profiles_list, "list all profiles; * is in use", "trayproxy profiles list")
    show = inner.add("show", _profiles_show, "show a profile", "trayproxy profiles show Office")
    show.add_argument("profile", metavar="NAME", nargs="?", help="default: the one in use")
    add = inner.add(
        "add",
        _profiles_add,
        "add a profile",
        "trayproxy profiles add Office proxy.example:8080 --user jdoe",
    )
    add.add_argument("name", metavar="NAME", type=_validated("check_name"))
    add.add_argument(
        "upstream",
        metavar="HOST:PORT",
        type=_validated("parse_upstream"),
        help="the company's proxy; with https:// or socks5:// in front if it is one of those",
    )
    _add_profile_options(add, _existing_file)
    add.add_argument("--use", action="store_true", help="use it now (the first one always is)")
    edit = inner.add(
        "edit",
        _profiles_edit,
        "change a profile; what is not given stays",
        "trayproxy profiles edit Office --sign-in sso --method negotiate",
    )
    edit.add_argument("profile", metavar="NAME")
    edit.add_argument("--name", metavar="NAME", type=_validated("check_name"), help="another name")
    edit.add_argument(
        "--address",
        dest="upstream",
        metavar="HOST:PORT",
        type=_validated("parse_upstream"),
        help="another proxy; one has to sign in there anew",
    )
    _add_profile_options(edit, _existing_file_or_empty)
    remove = inner.add(
        "remove", _profiles_remove, "delete a profile", "trayproxy profiles remove Lab"
    )
    remove.add_argument("profile", metavar="NAME")
    remove.add_argument(
        "--keep-password", action="store_true", help="leave its password in the keyring"
    )
    use = inner.add(
        "use", _profiles_use, "choose the profile in use", "trayproxy profiles use Office"
    )
    use.add_argument("profile", metavar="NAME")


_PROFILE_OPTIONS = ("user", "sign_in", "method", "encoding", "bypass", "fallbacks", "ca_file")
"""The attributes that `_add_profile_options` adds; the value is None if an option is absent."""


def _add_profile_options(parser: _Parser, file: Callable[[str], str]) -> None:
    """Add the options for the fields of a profile."""
    parser.add_argument("--user", metavar="NAME", type=_validated("check_user"), help="user name")
    _add_sign_in_options(parser)
    parser.add_argument(
        "--encoding",
        choices=["utf-8", "latin-1"],
        help="of user name and password, for a proxy that does not name its own (default: utf-8)",
    )
    parser.add_argument(
        "--bypass",
        metavar="HOSTS",
        type=_validated("parse_rules"),
        help="do not use the proxy for these, such as localhost,*.example",
    )
    parser.add_argument(
        "--fallback",
        dest="fallbacks",
        metavar="ADDRESSES",
        type=_validated("parse_upstreams"),
        help="use these while the proxy cannot be reached, separated by commas",
    )
    parser.add_argument(
        "--ca-file",
        metavar="FILE",
        type=file,
        help="the company's certificate, for an https proxy",
    )


def _add_sign_in_options(parser: _Parser, when: str = "") -> None:
    parser.add_argument(
        "--sign-in",
        choices=["password", "sso", "none"],
        help=f"{when}sso: your Windows or Kerberos sign-in, without a password (default: password)",
    )
    parser.add_argument(
        "--method",
        choices=["automatic", "negotiate", "ntlm", "digest", "basic"],
        help=f"{when}use this one only (default: automatic, the strongest that the proxy offers)",
    )


def _add_test(verbs: _Verbs) -> None:
    test = verbs.add(
        "test", _test, "try a profile step by step, and say what to do", "trayproxy test Office"
    )
    test.add_argument("profile", metavar="PROFILE", nargs="?", help="default: the one in use")
    test.add_argument(
        "--url",
        metavar="URL",
        help="an http page to fetch (default: http://example.com/)",
    )
    test.add_argument("--json", action="store_true", help='for programs; "schema" is 1')


def _add_login_verbs(verbs: _Verbs) -> None:
    login = verbs.add(
        "login", _login, "try a password at the proxy, and save it", "trayproxy login Office"
    )
    login.add_argument("profile", metavar="PROFILE", nargs="?", help="default: the one in use")
    login.add_argument(
        "--user", metavar="NAME", type=_validated("check_user"), help="another user name"
    )
    login.add_argument(
        "--stdin", action="store_true", help="read the password from standard input, one line"
    )
    logout = verbs.add(
        "logout", _logout, "remove the saved password of a profile", "trayproxy logout Office"
    )
    logout.add_argument("profile", metavar="PROFILE", nargs="?", help="default: the one in use")


def _add_env(verbs: _Verbs) -> None:
    env = verbs.add(
        "env", _env, "print settings that make a shell use TrayProxy", 'eval "$(trayproxy env)"'
    )
    env.add_argument(
        "--shell",
        choices=["bash", "zsh", "fish", "nu", "powershell", "cmd"],
        help="default: the one this is called from",
    )
    env.add_argument("--unset", action="store_true", help="print what undoes them")


def _existing_file(path: str) -> str:
    """Return the absolute path of an existing file; the service may run in another folder."""
    whole = os.path.abspath(path)
    if not os.path.isfile(whole):
        raise argparse.ArgumentTypeError("there is no such file")
    checked: str = _validated("check_ca_file")(whole)
    return checked


def _existing_file_or_empty(path: str) -> str:
    return _existing_file(path) if path else ""


def _validated(function: str) -> Callable[[str], Any]:
    """Return an argparse type that applies a function of `trayproxy.profiles.validate`."""

    def convert(text: str) -> Any:
        from trayproxy.profiles import validate
        from trayproxy.profiles.profile import ProfileError

        try:
            return getattr(validate, function)(text)
        except ProfileError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return convert
