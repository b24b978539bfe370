"""``trayproxy exec``: run one program with TrayProxy as its proxy, and change nothing else."""

import argparse
import os

from trayproxy.cli.output import CommandError, printable_line
from trayproxy.cli.proxy_variables import (
    company_variables,
    excluded_hosts,
    in_both_cases,
    proxy_variables,
)
from trayproxy.cli.service_start import local_address
from trayproxy.cli.verb_parser import Arguments, VerbParser
from trayproxy.desktop.program import ProgramError, become_program, find_program
from trayproxy.paths import Paths


def declare_exec(parser: VerbParser) -> None:
    """Declare ``trayproxy exec``."""
    parser.usage = f"{parser.prog} [-h] [--profile NAME] -- COMMAND [ARGUMENT ...]"
    parser.set_defaults(verb=_exec)
    parser.add_argument(
        "--profile", metavar="NAME", help="run the program only if this profile is in use"
    )
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, help="the program and its arguments, unchanged"
    )


def _exec(paths: Paths, arguments: Arguments) -> int:
    """Run the program in place of this process.

    Raises:
        CommandError: The program cannot be run (exit codes 126 and 127), another profile is in use,
            or programs cannot connect to TrayProxy.
    """
    command: list[str] = arguments.command
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        arguments.parser.error("write the program after “--”")
    if arguments.profile is not None:
        _require_profile(paths, arguments.profile)
    try:
        # Before the service is started: a mistyped command starts nothing.
        path = find_program(command[0])
        variables = proxy_variables(local_address(paths))
        variables |= {"all_proxy": variables["http_proxy"], "no_proxy": excluded_hosts(os.environ)}
        return become_program(path, command, in_both_cases(variables) | company_variables(paths))
    except ProgramError as error:
        text = f"{printable_line(command[0])}: {error}."
        raise CommandError(text, error.exit_code) from None


def _require_profile(paths: Paths, name: str) -> None:
    """Raise `CommandError` unless a profile is in use.

    All programs use the same profile: TrayProxy cannot use another one for a single program.
    """
    # Imported here: without a profile, the modules are not needed.
    from trayproxy.cli.settings import find_profile, open_settings

    with open_settings(paths) as settings:
        config = settings.load()
    if config.names_direct(name):
        if config.is_direct:
            return
        wanted = name
    else:
        profile = find_profile(config, name)
        if profile.id == config.active:
            return
        wanted = profile.name
    shown = printable_line(wanted)
    raise CommandError(
        f"“{shown}” is not in use, and exec does not change the profile of other programs. "
        f"To use it for all programs: trayproxy profiles use “{shown}”."
    )
