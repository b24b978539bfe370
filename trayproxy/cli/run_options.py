"""The options of ``trayproxy run``, checked before the modules of the service are imported."""

import argparse
import gc

from trayproxy.cli.arguments import (
    add_sign_in_options,
    existing_file,
    proxy_or_pac,
    proxy_patterns,
    validated,
)
from trayproxy.cli.output import CommandError
from trayproxy.cli.verb_parser import Arguments, VerbParser
from trayproxy.domain.problem import ExitCode
from trayproxy.paths import Paths


def declare_run(parser: VerbParser) -> None:
    """Declare ``trayproxy run``."""
    parser.set_defaults(verb=_run)
    parser.add_argument(
        "--listen",
        metavar="HOST:PORT",
        type=validated("parse_listen"),
        help="port 0: any free port",
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--profile", metavar="NAME", help="use this profile in this run")
    which.add_argument(
        "--upstream",
        metavar="URL",
        type=proxy_or_pac,
        help="use this proxy, or the proxies of this PAC script, in this run; nothing is saved",
    )
    parser.add_argument(
        "--ca-file",
        metavar="FILE",
        type=existing_file,
        help="with --upstream: the company's certificate, for an https proxy",
    )
    parser.add_argument(
        "--user", metavar="NAME", type=validated("check_user"), help="with --upstream"
    )
    add_sign_in_options(parser, "with --upstream: ")
    parser.add_argument(
        "--password-stdin",
        action="store_true",
        help="with --upstream and --user: read the password, one line; with a PAC script it is for "
        "the first proxy that the script names",
    )
    parser.add_argument(
        "--shared-sign-in",
        metavar="PATTERNS",
        type=proxy_patterns,
        help="with a PAC script: its proxies that get the password, such as *.proxy.example:8080",
    )
    parser.add_argument("--no-prompt", action="store_true", help="never prompt")
    parser.add_argument(
        "--quiet",
        action="store_true",
        help="log to the log file only, as on a terminal with prompts",
    )
    # For the tray: it can show the problem only while the service is running.
    parser.add_argument("--stay", action="store_true", help=argparse.SUPPRESS)
    # For the command that starts the service; see `trayproxy.desktop.process.start_service`.
    parser.add_argument("--ready-fd", type=int, help=argparse.SUPPRESS)


def _run(paths: Paths, arguments: Arguments) -> int:
    given = (
        arguments.user,
        arguments.password_stdin,
        arguments.ca_file,
        arguments.sign_in,
        arguments.method,
        arguments.shared_sign_in,
    )
    if any(given) and arguments.upstream is None:
        names = "--user, --password-stdin, --ca-file, --sign-in, --method and --shared-sign-in"
        raise CommandError(f"{names} belong to --upstream.", ExitCode.USAGE)
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
        ready_descriptor=arguments.ready_fd,
        ca_file=arguments.ca_file or "",
        sign_in=SignIn(arguments.sign_in or SignIn.PASSWORD),
        method=Method(arguments.method or Method.AUTOMATIC),
        shared_sign_in=arguments.shared_sign_in or (),
    )
    return run(paths, options, password_from_stdin=arguments.password_stdin, quiet=arguments.quiet)
