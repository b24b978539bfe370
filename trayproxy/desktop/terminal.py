"""Reads lines from, and writes to, the controlling terminal of this process.

Standard input and output are not used: they may be redirected. Reading can be abandoned when
another event occurs, such as a login typed in a window. The implementation for Unix uses
termios(3); the implementation for Windows uses the console functions of the C library (_getwch,
_kbhit).
"""

import contextlib
import importlib
import os
import select
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

_LINE_SIZE = 4096
"""The largest number of octets in a line of a terminal in canonical mode (termios(3))."""
_CHECK_INTERVAL_S = 1.0
"""Seconds between two checks whether this process is in the foreground and echo is still off."""
_KEY_POLL_INTERVAL_S = 0.05


class AbandonedError(Exception):
    """Reading was abandoned because the line is no longer wanted."""


class Terminal(Protocol):
    """The terminal of a user. An instance is for one thread."""

    def write(self, text: str) -> None:
        """Write text, which must contain no control characters except line feeds."""

    def read_line(
        self, prompt: str, *, hidden: bool, watch: Sequence[int], is_wanted: Callable[[], bool]
    ) -> str | None:
        """Read a line, and return it without its line terminator.

        Args:
            prompt: The text to write before reading the line.
            hidden: True if typed characters are not shown.
            watch: Descriptors of sockets; when a socket becomes readable, `is_wanted` is called.
            is_wanted: Returns True if the line is still wanted.

        Returns:
            None at the end of input (Ctrl+D; Ctrl+Z on Windows).

        Raises:
            AbandonedError: The line is no longer wanted.
            OSError: The terminal was closed.
            UnicodeDecodeError: The line is not valid UTF-8.
        """

    def close(self) -> None:
        """Close the terminal."""


def open_terminal() -> Terminal:
    """Open the controlling terminal of this process. Call this in the thread that will use it.

    Raises:
        OSError: This process has no terminal.
    """
    if sys.platform == "win32":
        return _Console()
    return _Tty()


class _Tty:
    def __init__(self) -> None:
        self._descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        # In the background, these signals would stop the whole process, including the service.
        # While they are blocked in this thread, reading fails with EIO, and writing works
        # (tty_ioctl(4)).
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTTIN, signal.SIGTTOU})

    def write(self, text: str) -> None:
        octets = text.encode("utf-8", "replace")
        while octets:
            octets = octets[os.write(self._descriptor, octets) :]

    def read_line(
        self, prompt: str, *, hidden: bool, watch: Sequence[int], is_wanted: Callable[[], bool]
    ) -> str | None:
        with self._echo_off() if hidden else contextlib.nullcontext():
            octets = self._read(prompt, watch, is_wanted, hidden=hidden)
        if hidden or not octets.endswith(b"\n"):
            self.write("\n")
        return octets.decode("utf-8").rstrip("\r\n") if octets else None

    def close(self) -> None:
        os.close(self._descriptor)

    def _read(
        self, prompt: str, watch: Sequence[int], is_wanted: Callable[[], bool], *, hidden: bool
    ) -> bytes:
        is_prompt_shown = False
        while True:
            is_foreground = self._is_foreground()
            if is_foreground and not is_prompt_shown:
                self.write(prompt)
                is_prompt_shown = True
            ready, _, _ = select.select(
                [*watch, *[self._descriptor][:is_foreground]], [], [], _CHECK_INTERVAL_S
            )
            if any(descriptor in ready for descriptor in watch) and not is_wanted():
                self.write("\n")
                raise AbandonedError
            if self._descriptor in ready and self._is_foreground():
                return os.read(self._descriptor, _LINE_SIZE)
            if hidden and is_foreground and not ready:
                # A shell that has suspended and resumed this process has turned echo on again.
                self._turn_echo_off()

    def _is_foreground(self) -> bool:
        return os.tcgetpgrp(self._descriptor) == os.getpgrp()

    @contextmanager
    def _echo_off(self) -> Iterator[None]:
        import termios

        before = termios.tcgetattr(self._descriptor)
        self._turn_echo_off()
        # Discard characters that were typed before the prompt was shown.
        termios.tcflush(self._descriptor, termios.TCIFLUSH)
        try:
            yield
        finally:
            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, before)

    def _turn_echo_off(self) -> None:
        import termios

        attributes = termios.tcgetattr(self._descriptor)
        attributes[3] &= ~termios.ECHO
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, attributes)


class _Console:
    """The console of Windows, read key by key.

    Windows cannot wait for keys and sockets in one call, so the keys are polled.
    """

    def __init__(self) -> None:
        self._msvcrt: Any = importlib.import_module("msvcrt")

    def write(self, text: str) -> None:
        for char in text.replace("\n", "\r\n"):
            self._msvcrt.putwch(char)

    def read_line(
        self, prompt: str, *, hidden: bool, watch: Sequence[int], is_wanted: Callable[[], bool]
    ) -> str | None:
        self.write(prompt)
        line = ""
        while True:
            if select.select(watch, [], [], _KEY_POLL_INTERVAL_S)[0] and not is_wanted():
                self.write("\n")
                raise AbandonedError
            while self._msvcrt.kbhit():
                key = self._msvcrt.getwch()
                if key in "\r\n\x1a":
                    self.write("\n")
                    return None if key == "\x1a" and not line else line
                line = self._edit_line(line, key, hidden=hidden)

    def close(self) -> None:
        pass

    def _edit_line(self, line: str, key: str, *, hidden: bool) -> str:
        if key in "\0\xe0":
            # An arrow or function key: a second character is its code.
            self._msvcrt.getwch()
            return line
        if key == "\x03":
            os.kill(os.getpid(), signal.SIGINT)
            return line
        if key == "\b":
            if line and not hidden:
                self.write("\b \b")
            return line[:-1]
        if not hidden:
            self.write(key)
        return line + key
