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
from trayproxy.control.messages import OpenProfilePort, ProfilePort
from trayproxy.desktop.program import ProgramError, become_program, find_program
from trayproxy.paths import Paths


def declare_exec(parser: VerbParser) -> None:
    """Declare ``trayproxy exec``."""
    parser.usage = f"{parser.prog} [-h] [--profile NAME] -- COMMAND [ARGUMENT ...]"
    parser.set_defaults(verb=_exec)
    parser.add_argument(
        "--profile", metavar="NAME", help="the profile for this program alone (default: in use)"
    )
    parser.add_argument(
        "command", nargs=argparse.REMAINDER, help="the program and its arguments, unchanged"
    )


def _exec(paths: Paths, arguments: Arguments) -> int:
    """Run the program in place of this process.

    Raises:
        CommandError: The program cannot be run (exit codes 126 and 127), there is no such profile,
            or programs cannot connect to TrayProxy.
    """
    command: list[str] = arguments.command
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        arguments.parser.error("write the program after “--”")
    try:
        # Before the service is started: a mistyped command starts nothing.
        path = find_program(command[0])
        variables = proxy_variables(_address(paths, arguments.profile))
        variables |= {"all_proxy": variables["http_proxy"], "no_proxy": excluded_hosts(os.environ)}
        return become_program(path, command, in_both_cases(variables) | company_variables(paths))
    except ProgramError as error:
        text = f"{printable_line(command[0])}: {error}."
        raise CommandError(text, error.exit_code) from None


def _address(paths: Paths, profile_name: str | None) -> str:
    """Return the local address for the program: for a profile, an address of its own."""
    if profile_name is None:
        return local_address(paths)
    # Imported here: without a profile, the modules are not needed.
    from trayproxy.cli.service_client import fetch_status, request
    from trayproxy.cli.service_start import connect_or_start
    from trayproxy.cli.settings import config_of, find_profile

    with connect_or_start(paths) as client:
        config = config_of(fetch_status(client))
        if config.names_direct(profile_name):
            raise CommandError("Without a proxy, run the program without “trayproxy exec”.")
        profile = find_profile(config, profile_name)
        reply = request(client, OpenProfilePort(profile.id))
    if not isinstance(reply, ProfilePort):
        raise CommandError("TrayProxy sent an unexpected reply.")
    return reply.address
