"""The entry point of the command line (ux §7.1).

The module of each verb is imported when the verb is given (`trayproxy.cli.verb_parser`).
"""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from trayproxy import __version__
from trayproxy.cli.output import CommandError, print_message, printable_line
from trayproxy.cli.streams import (
    discard_output,
    discard_unwritten_errors,
    ensure_streams,
    replace_unencodable,
)
from trayproxy.cli.verb_parser import Arguments, Verb, VerbParser
from trayproxy.domain.problem import ExitCode
from trayproxy.paths import HOME_VARIABLE, PathError, Paths, locate

_VERBS = (
    (
        "run",
        "run_options",
        "run the service in this terminal, with its prompts",
        "trayproxy run --upstream proxy.example:8080 --user jdoe",
    ),
    ("status", "status", "show the state of TrayProxy", "trayproxy status --json"),
    ("profiles", "profiles", "list, add and choose profiles", "trayproxy profiles use Office"),
    (
        "import",
        "import_command",
        "add profiles from the settings of other programs, such as Px and Cntlm",
        "trayproxy import px --dry-run",
    ),
    (
        "login",
        "login",
        "try a password, and save it if the proxy accepts it",
        "trayproxy login Office",
    ),
    ("logout", "login", "remove the saved password of a profile", "trayproxy logout Office"),
    ("test", "check", "test a profile step by step", "trayproxy test Office"),
    (
        "exec",
        "exec_command",
        "run one program through TrayProxy, and change nothing else",
        "trayproxy exec -- git clone https://git.example/project.git",
    ),
    (
        "connect",
        "tunnel",
        "join standard input and output to a host (ProxyCommand of ssh)",
        "trayproxy connect git.example:22",
    ),
    (
        "direct",
        "direct",
        "connect directly, without a proxy, for some time or until you resume",
        "trayproxy direct --for 15m",
    ),
    ("resume", "direct", "use the profile again after “direct”", "trayproxy resume"),
    (
        "route",
        "route",
        "tell which proxy an address leads to, and which rule decides",
        "trayproxy route https://intranet.example/",
    ),
    (
        "pac",
        "pac",
        "ask the PAC script of a profile for a web address",
        "trayproxy pac eval https://www.example/",
    ),
    ("show", "window_commands", "show the window of the running TrayProxy", "trayproxy show"),
    ("quit", "window_commands", "end the running TrayProxy", "trayproxy quit"),
    (
        "system-proxy",
        "system_proxy",
        "make the computer use TrayProxy, and put its settings back",
        "trayproxy system-proxy on",
    ),
    ("autostart", "autostart", "start TrayProxy when you log in", "trayproxy autostart on"),
    (
        "recipe",
        "recipe",
        "make a program such as git use TrayProxy, and undo that",
        "trayproxy recipe git --apply",
    ),
    (
        "forward",
        "forward",
        "tunnels to fixed targets, for programs that support no proxy",
        "trayproxy forward add 2222 git.example:22",
    ),
    (
        "devices",
        "devices",
        "let other devices connect, such as a phone or a virtual machine",
        "trayproxy devices allow 192.168.1.20",
    ),
    (
        "containers",
        "devices",
        "let containers and WSL on this computer connect",
        "trayproxy containers on",
    ),
    ("env", "env", "print settings that make a shell use TrayProxy", 'eval "$(trayproxy env)"'),
    (
        "demo",
        "demo",
        "demonstrate TrayProxy with its own proxies, without using your settings",
        "trayproxy demo",
    ),
)
"""The name of each verb, its module in `trayproxy.cli`, its help text and its example."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, by default those of this process, and run their verb.

    Returns:
        The exit code (ux §7.1).
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    if None in (sys.stdin, sys.stdout, sys.stderr):
        ensure_streams()
    replace_unencodable()
    try:
        parsed, unknown = make_parser(given).parse_known_args(given)
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


def make_parser(given: Sequence[str]) -> VerbParser:
    """Return the parser for a command line, with the arguments of the given verb declared."""
    parser = VerbParser(
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
    parser.set_defaults(verb=_tray)
    for name, module, summary, example in _VERBS:
        parser.add_verb(name, summary, example, _declared_by(name, module))
    parser.declare_given(given)
    return parser


def _declared_by(name: str, module: str) -> Callable[[VerbParser], None]:
    def declare(parser: VerbParser) -> None:
        getattr(import_module(f"trayproxy.cli.{module}"), f"declare_{name.replace('-', '_')}")(
            parser
        )

    return declare


def _make_home_private(paths: Paths) -> None:
    if HOME_VARIABLE not in os.environ:
        return
    from trayproxy.desktop.private_folder.factory import make_home_private

    try:
        make_home_private(paths)
    except PathError as error:
        raise CommandError(f"{error}.") from None


def _tray(paths: Paths, arguments: Arguments) -> int:
    from trayproxy.cli.start import run_tray

    return run_tray(paths, ["--background"] if arguments.background else [])


def _debug_info(paths: Paths, arguments: Arguments) -> None:
    from trayproxy.cli.debug_info import show

    show(paths)
