"""Autostart without a desktop: a unit of the user's systemd.

The unit starts with the first log-in of the user, or with the computer if lingering is enabled
(``loginctl enable-linger``). Turning it off does not stop a running service.
"""

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from trayproxy.desktop.atomic_file import remove, replace_text
from trayproxy.desktop.autostart.base import (
    AutostartState,
    AutostartStatus,
    FindProgram,
    StartCommand,
)
from trayproxy.desktop.autostart.entry_file import read_entry
from trayproxy.desktop.commands import CommandResult, Run
from trayproxy.desktop.config_home import config_home
from trayproxy.paths import HOME_VARIABLE
from trayproxy.system_settings.entries import TargetError

UNIT = "trayproxy.service"
LINGER = "The service starts when you log in. To start it with the computer: loginctl enable-linger"

_TEMPLATE = """\
[Unit]
Description=TrayProxy signs in to the company proxy

[Service]
Type=exec
ExecStart={command}
Restart=on-failure
RestartSec=5
# 2: invalid usage, 7: the port is in use. A restart would fail again.
RestartPreventExitStatus=2 7
# The service has passwords in memory: no core dumps, no new privileges, files readable only by this user.
LimitCORE=0
NoNewPrivileges=yes
UMask=0077

[Install]
WantedBy=default.target
"""  # noqa: E501  # the lines of packaging/systemd/trayproxy.service
_EXEC = "ExecStart="
_HOME = re.compile(rf'Environment="?{HOME_VARIABLE}=((?:[^"\\]|\\.)*)"?')
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_RUNS = frozenset({"enabled", "enabled-runtime", "linked", "linked-runtime", "static", "alias"})


class SystemdAutostart:
    """The unit of the user, ``~/.config/systemd/user/trayproxy.service``."""

    def __init__(
        self, command: StartCommand, folder: Path, run: Run, find: FindProgram = shutil.which
    ) -> None:
        """Set the place of the unit; nothing is read.
        Args:
            command: The command of this installation.
            folder: The folder of the user's units, ``$XDG_CONFIG_HOME/systemd/user``.
            run: Runs ``systemctl``.
            find: Finds programs.
        """
        self._command = command
        self._file = folder / UNIT
        self._run = run
        self._find = find

    def status(self) -> AutostartStatus:
        """Return the present state; see `Autostart`."""
        text = self._read()
        place = str(self._file)
        if text is None:
            return AutostartStatus(AutostartState.OFF, place)
        words, home = _command_of(text, place)
        program = words[0] if words else ""
        state = self._systemctl("is-enabled", UNIT, may_fail=True).out.strip()
        if state.startswith("masked"):
            reason = f"systemd masks it. Run: systemctl --user unmask {UNIT}"
            return AutostartStatus(AutostartState.DISABLED, place, program, reason=reason)
        if state not in _RUNS:
            return AutostartStatus(AutostartState.OFF, place, program)
        if self._command.is_started_by(words, home, self._find):
            return AutostartStatus(AutostartState.ON, place, program, home=home, reason=LINGER)
        missing = self._find(program) is None
        return AutostartStatus(AutostartState.OTHER, place, program, missing, home)

    def turn_on(self) -> None:
        """Write and enable the unit; see `Autostart`."""
        new = _TEMPLATE.format(command=_exec_line(self._command))
        new = _with_home(new, self._command.home)
        before = self._read()
        if before is not None:
            words, home = _command_of(before, str(self._file))
            new = before
            if not self._command.is_started_by(words, home, self._find):
                new = _with_command(before, _exec_line(self._command))
                new = _with_home(new, self._command.home)
        self._check_systemd()
        if new != before:
            replace_text(self._file, new)
        try:
            self._systemctl("daemon-reload")
            self._systemctl("enable", UNIT)
        except TargetError:
            if before is None:
                remove(self._file)
            elif new != before:
                replace_text(self._file, before)
            raise

    def turn_off(self) -> None:
        """Disable the unit, and remove it if it is as TrayProxy has written it; see `Autostart`."""
        text = self._read()
        if text is None:
            return
        self._check_systemd()
        self._systemctl("disable", UNIT)
        plain = _with_home(_with_command(text, ""), "")
        if plain == _TEMPLATE.format(command=""):
            remove(self._file)
            self._systemctl("daemon-reload")

    def _read(self) -> str | None:
        return read_entry(self._file)

    def _check_systemd(self) -> None:
        """Raise `TargetError` if there is no systemd for this user."""
        try:
            result = self._run(["systemctl", "--user", "show", "--property=Version"])
        except TargetError as error:
            raise TargetError(f"this computer has no systemd for the user: {error}") from None
        if result.code:
            raise TargetError(f"systemd does not serve this user: {result.reason}")

    def _systemctl(self, *arguments: str, may_fail: bool = False) -> CommandResult:
        result = self._run(["systemctl", "--user", *arguments])
        # is-enabled fails with a state on standard output, and without one if it found no systemd.
        if result.code and not (may_fail and result.out.strip()):
            raise TargetError(f"systemctl {arguments[0]} fails: {result.reason}")
        return result


def config_folder(environ: Mapping[str, str]) -> Path:
    """Return the folder of the user's systemd units, ``~/.config/systemd/user``."""
    return config_home(environ) / "systemd" / "user"


def _exec_line(command: StartCommand) -> str:
    """Return a command line as the value of ``ExecStart`` (systemd.service(5), "Command lines").

    Raises:
        TargetError: It has a character that a unit cannot contain.
    """
    path = command.program.path
    if set(path) & set("\"'\\"):
        # systemd refuses such a program even if the path is quoted correctly.
        raise TargetError(f"systemd starts no program with quotation marks or “\\”: {path}")
    words = [_quote(path)]
    # In arguments, but not in the path of the program, $ starts the name of a variable.
    words += (_quote(word.replace("$", "$$")) for word in command.argv[1:])
    return " ".join(words)


def _quote(word: str) -> str:
    escaped = _escape(word)
    return escaped if word and not set(word) & set(" \"'\\;") else f'"{escaped}"'


def _escape(word: str) -> str:
    """Return a word for a place between quotation marks (systemd.syntax(7), "Quoting")."""
    if _CONTROL.search(word):
        raise TargetError("the command has a character that a unit of systemd cannot contain")
    return word.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')


def _unquote(line: str) -> tuple[str, ...]:
    words: list[str] = []
    for found in re.finditer(r'"((?:[^"\\]|\\.)*)"|[^ \t"]+', line):
        word = found[0] if found[1] is None else re.sub(r"\\(.)", r"\1", found[1])
        word = word.replace("%%", "%")
        words.append(word.replace("$$", "$") if words else word)
    return tuple(words)


def _command_of(text: str, place: str) -> tuple[tuple[str, ...], str]:
    """Return the command line of a unit, and its ``TRAYPROXY_HOME``.

    Raises:
        TargetError: The unit has no single command line, or one in several lines.
    """
    lines = text.split("\n")
    commands = [line.strip() for line in lines if line.strip().startswith(_EXEC)]
    if len(commands) != 1 or commands[0].endswith("\\"):
        raise TargetError(f"{place} was left alone: it has no single line {_EXEC}…")
    homes = [found for line in lines if (found := _HOME.fullmatch(line.strip()))]
    home = re.sub(r"\\(.)", r"\1", homes[-1][1]).replace("%%", "%") if homes else ""
    return _unquote(commands[0].removeprefix(_EXEC)), home


def _with_command(text: str, command: str) -> str:
    """Return a unit with another command line."""
    return "\n".join(
        _EXEC + command if line.strip().startswith(_EXEC) else line for line in text.split("\n")
    )


def _with_home(text: str, home: str) -> str:
    """Return a unit with another ``TRAYPROXY_HOME``; empty for none.

    Raises:
        TargetError: It has a character that a unit cannot contain.
    """
    lines = [line for line in text.split("\n") if not _HOME.fullmatch(line.strip())]
    if home:
        place = next(n for n, line in enumerate(lines) if line.strip().startswith(_EXEC))
        lines.insert(place, f'Environment="{HOME_VARIABLE}={_escape(home)}"')
    return "\n".join(lines)
