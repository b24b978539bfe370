"""Autostart on macOS: a property list in ``~/Library/LaunchAgents`` (launchd.plist(5)).

launchd reads the folder when the user logs in, so nothing is loaded or unloaded here: ``launchctl
bootstrap`` would start a second TrayProxy now, and ``launchctl bootout`` would end the running one.

launchd has its own record of disabled agents, which takes precedence over the file; ``launchctl
print-disabled`` shows it. The switch in *Login Items* (macOS 13 and newer) may be kept elsewhere,
where no documented command shows it: then the status is on although macOS does not start TrayProxy.

Written from the vendor's documentation and tested with replacements. Nothing was run on macOS.
"""

import plistlib
import re
import shutil
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from trayproxy.desktop.atomic_file import remove, replace_text
from trayproxy.desktop.autostart.base import (
    AutostartState,
    AutostartStatus,
    FindProgram,
    StartCommand,
)
from trayproxy.desktop.autostart.entry_file import read_entry
from trayproxy.desktop.commands import Run
from trayproxy.identity import APP_ID
from trayproxy.paths import HOME_VARIABLE
from trayproxy.system_settings.entries import TargetError

FILE = f"{APP_ID}.plist"

_BUNDLES = "AssociatedBundleIdentifiers"
_OWN_KEYS = frozenset(
    {
        "Label",
        "ProgramArguments",
        "RunAtLoad",
        "ProcessType",
        "EnvironmentVariables",
        "Disabled",
        _BUNDLES,
    }
)


class LaunchAgentAutostart:
    """The launch agent of the user."""

    def __init__(
        self,
        command: StartCommand,
        folder: Path,
        run: Run,
        uid: int,
        find: FindProgram = shutil.which,
    ) -> None:
        """Set the place of the property list; nothing is read.
        Args:
            command: The command of this installation.
            folder: The folder of the user's agents.
            run: Runs ``launchctl``.
            uid: The id of the user.
            find: Finds programs.
        """
        self._command = command
        self._file = folder / FILE
        self._run = run
        self._domain = f"gui/{uid}"
        self._find = find

    def status(self) -> AutostartStatus:
        """Return the present state; see `Autostart`."""
        place = str(self._file)
        agent = self._read()
        if agent is None:
            return AutostartStatus(AutostartState.OFF, place)
        words = _words(agent)
        program = words[0] if words else ""
        if agent.get("Disabled") is True or agent.get("RunAtLoad") is not True:
            return AutostartStatus(AutostartState.OFF, place, program)
        if not self._command.is_started_by(words, _home(agent), self._find):
            missing = self._find(program) is None
            return AutostartStatus(AutostartState.OTHER, place, program, missing, _home(agent))
        if self._is_disabled():
            reason = f"launchd has it disabled. Run: launchctl enable {self._domain}/{APP_ID}"
            return AutostartStatus(AutostartState.DISABLED, place, program, reason=reason)
        return AutostartStatus(AutostartState.ON, place, program, home=_home(agent))

    def turn_on(self) -> None:
        """Write the property list; see `Autostart`."""
        if self.status().state in (AutostartState.ON, AutostartState.DISABLED):
            return
        agent = self._read() or {}
        agent.pop("Disabled", None)
        # It would take precedence over ProgramArguments.
        agent.pop("InstalledProgram", None)
        environment = _environment(agent)
        environment.pop(HOME_VARIABLE, None)
        if self._command.home:
            environment[HOME_VARIABLE] = self._command.home
        agent |= {
            "Label": APP_ID,
            "ProgramArguments": list(self._command.argv),
            "RunAtLoad": True,
            # Without it, launchd limits the processor time and the disk accesses of the program.
            "ProcessType": "Interactive",
            "EnvironmentVariables": environment,
        }
        if not environment:
            del agent["EnvironmentVariables"]
        if _is_in_bundle(self._command.program.path):
            # Login Items then shows the name and the icon of the application.
            agent[_BUNDLES] = [APP_ID]
        self._write(agent)

    def turn_off(self) -> None:
        """Remove or disable the property list; see `Autostart`."""
        agent = self._read()
        if agent is None:
            return
        if _OWN_KEYS.issuperset(agent) and {HOME_VARIABLE}.issuperset(_environment(agent)):
            remove(self._file)
        elif agent.get("Disabled") is not True:
            self._write({**agent, "Disabled": True})

    def _read(self) -> dict[str, Any] | None:
        text = read_entry(self._file)
        if text is None:
            return None
        try:
            agent: object = plistlib.loads(text.encode("utf-8", "surrogateescape"))
        except (ExpatError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError):
            agent = None
        if not isinstance(agent, dict):
            raise TargetError(f"{self._file} was left alone: it is no property list of an agent")
        return agent

    def _write(self, agent: dict[str, Any]) -> None:
        try:
            octets = plistlib.dumps(agent, sort_keys=False)
        except (ValueError, TypeError) as error:
            raise TargetError(f"{FILE} cannot be written: {error}") from None
        replace_text(self._file, octets.decode())

    def _is_disabled(self) -> bool:
        try:
            listed = self._run(["launchctl", "print-disabled", self._domain])
        except TargetError:
            return False
        # Newer versions print "disabled", older ones "true".
        line = rf'"{re.escape(APP_ID)}"\s*=>\s*(?:disabled|true)\b'
        return listed.code == 0 and re.search(line, listed.out) is not None


def _words(agent: dict[str, Any]) -> tuple[str, ...]:
    """Return the command line of an agent."""
    given = agent.get("ProgramArguments")
    words = tuple(map(str, given)) if isinstance(given, list) else ()
    program = agent.get("InstalledProgram")
    return (program, *words[1:]) if isinstance(program, str) else words


def _environment(agent: dict[str, Any]) -> dict[str, Any]:
    given = agent.get("EnvironmentVariables")
    return dict(given) if isinstance(given, dict) else {}


def _home(agent: dict[str, Any]) -> str:
    return str(_environment(agent).get(HOME_VARIABLE, ""))


def _is_in_bundle(program: str) -> bool:
    """Return True for a program of an application, ``TrayProxy.app/Contents/MacOS/trayproxy``."""
    return bool(re.search(r"\.app[/\\]Contents[/\\]MacOS[/\\][^/\\]+$", program))
