"""The commands that start other programs: in systemd units, in launchd plists, and as text.

Sources: systemd.service(5), systemd.syntax(7), launchd.plist(5).
"""

import plistlib
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from xml.parsers.expat import ExpatError

from trayproxy.importers.source_text import SourceText


@dataclass(frozen=True, slots=True)
class ServiceCommand:
    """A command with its variables.

    Attributes:
        words: The program and its arguments.
        environ: The variables that the definition sets; they may contain passwords.
    """

    words: tuple[str, ...]
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def program(self) -> str:
        """The name of the program without its folder and ``.exe``, in lower case."""
        return program_name(self.words[0]) if self.words else ""


def program_name(path: str) -> str:
    """Return the name of a program without its folder and ``.exe``, in lower case."""
    name = (PureWindowsPath(path) if "\\" in path else PurePosixPath(path)).name.lower()
    return name.removesuffix(".exe")


def systemd_command(source: SourceText) -> ServiceCommand:
    """Return the command of a systemd unit; without words if there is none.

    Raises:
        UnreadableSourceError: A quotation is not closed.
    """
    words: Sequence[str] = ()
    environ: dict[str, str] = {}
    for number, line in _logical_lines(source.text):
        key, equals, value = line.partition("=")
        if not equals or line.lstrip()[:1] in ("#", ";"):
            continue
        try:
            if key.strip() == "ExecStart":
                # Prefixes such as “-” change how systemd runs the command.
                words = shlex.split(value.strip().lstrip("@-:+!"))
            elif key.strip() == "Environment":
                environ |= dict(word.partition("=")[::2] for word in shlex.split(value))
        except ValueError:
            raise source.error("a quotation is not closed", number) from None
    return ServiceCommand(tuple(words), environ)


def launchd_command(source: SourceText) -> ServiceCommand:
    """Return the command of a launchd plist; without words if there is none.

    Raises:
        UnreadableSourceError: The file is not an XML property list.
    """
    try:
        # plistlib refuses entities, which could expand to gigabytes.
        plist = plistlib.loads(source.text.encode(), fmt=plistlib.FMT_XML)
    except (
        ExpatError,
        ValueError,
        TypeError,
        KeyError,
        IndexError,
        AttributeError,
        RecursionError,
    ):
        raise source.error("it is not a property list") from None
    if not isinstance(plist, Mapping):
        raise source.error("it is not the property list of a service")
    words = plist.get("ProgramArguments", ())
    variables = plist.get("EnvironmentVariables", {})
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        words = ()
    if not isinstance(variables, Mapping):
        variables = {}
    return ServiceCommand(tuple(words), {str(name): str(text) for name, text in variables.items()})


def _logical_lines(text: str) -> list[tuple[int, str]]:
    """Return the lines with their numbers; a line that ends in a backslash is continued."""
    lines: list[tuple[int, str]] = []
    is_continued = False
    for number, line in enumerate(text.split("\n"), 1):
        content = line.removesuffix("\\")
        if is_continued:
            lines[-1] = (lines[-1][0], f"{lines[-1][1]} {content}")
        else:
            lines.append((number, content))
        is_continued = content != line
    return lines
