"""The argument parser of the command line and of its verbs.

A verb is declared by a function in the module of the verb: the function adds the arguments of the
verb and sets the function that runs the verb. The parser of a verb is declared when the verb is
given on the command line; the help of the command line needs only the names of the verbs.
"""

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from trayproxy.cli.output import print_line, print_message, printable_line
from trayproxy.domain.problem import ExitCode
from trayproxy.paths import Paths

Arguments = argparse.Namespace
Verb = Callable[[Paths, Arguments], int | None]


class VerbParser(argparse.ArgumentParser):
    """An argument parser with verbs; it reports errors in one line.

    Attributes:
        verbs: The parser of each verb; empty if the parser has no verbs.
    """

    def __init__(self, declare: "Callable[[VerbParser], None] | None" = None, **settings: Any):
        """Create the parser with settings as in `argparse.ArgumentParser`.

        `declare_given` calls `declare`, which adds the arguments, if the parser's verb is given.
        """
        # An abbreviation could become ambiguous when an option is added.
        super().__init__(allow_abbrev=False, **settings)
        self.verbs: dict[str, VerbParser] = {}
        self._declare = declare
        self._verb_action: argparse._SubParsersAction[VerbParser] | None = None
        self.set_defaults(parser=self)

    def add_verb(
        self, name: str, summary: str, example: str, declare: "Callable[[VerbParser], None]"
    ) -> None:
        """Add a verb with the summary and the example for its help, one line each.

        `declare` adds the arguments of the verb and sets the default ``verb``, a `Verb`.
        """
        if self._verb_action is None:
            self._verb_action = self.add_subparsers(title="verbs", metavar="VERB")
        self.verbs[name] = self._verb_action.add_parser(
            name,
            help=summary,
            description=f"{summary[:1].upper()}{summary[1:]}.",
            epilog=f"Example: {example}",
            declare=declare,
        )

    def declare_given(self, given: Sequence[str]) -> None:
        """Declare the verbs in the arguments; report an unknown verb with the nearest known verb.

        Options before a verb take no values.
        """
        parser = self
        for word in given:
            if not parser.verbs:
                return
            if word.startswith("-"):
                continue
            if word not in parser.verbs:
                parser._report_unknown(word)
            parser = parser.verbs[word]
            if parser._declare is not None:
                parser._declare(parser)

    def _report_unknown(self, word: str) -> NoReturn:
        self.error(unknown_word(word, self.verbs))

    def error(self, message: str) -> NoReturn:
        """Print a usage error, and exit."""
        self.exit(ExitCode.USAGE, f"{self.prog}: {message}\nTry: {self.prog} --help\n")

    def _print_message(self, message: str, file: Any = None) -> None:
        # argparse writes all its output with this method.
        write = print_line if file is sys.stdout else print_message
        write(message.removesuffix("\n"))


def unknown_word(word: str, known: Iterable[str]) -> str:
    """Return the error for an unknown word, with the nearest known word or all known words."""
    import difflib

    names = list(known)
    near = difflib.get_close_matches(word, names, 1)
    hint = f"did you mean “{near[0]}”?" if near else f"there are {', '.join(names)}."
    return f"there is no “{printable_line(word)}”; {hint}"
