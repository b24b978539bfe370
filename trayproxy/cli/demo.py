"""``trayproxy demo``: a demonstration with a proxy of its own."""

from trayproxy.cli.output import print_line
from trayproxy.cli.verb_parser import Arguments, VerbParser
from trayproxy.paths import Paths


def declare_demo(parser: VerbParser) -> None:
    """Declare ``trayproxy demo``."""
    parser.set_defaults(verb=_demo)


def _demo(paths: Paths, arguments: Arguments) -> int:
    from trayproxy.demo.main import main

    return main(print_line)
