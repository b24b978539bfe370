"""The terminal that this process was started from: words to it, lines from it, echo off if wanted.

Not standard input and output, which may lead elsewhere. Reading can be given up when something else
happens, such as an answer from another face. On Unix by termios(3); on Windows by the console calls
of the C library (_getwch, _kbhit).
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
"""Octets of a line that a terminal in canonical mode hands over (termios(3))."""
_CHECK_INTERVAL_S = 1.0
"""How often to look whether the terminal is ours again, or shows what is typed again."""
_KEY_POLL_INTERVAL_S = 0.05


class AbandonedError(Exception):
    """Reading was given up: nobody needs the line any more."""


class Terminal(Protocol):
    """A terminal with a person before it. For one thread."""

    def write(self, text: str) -> None:
        """Show text, which holds no controls but line feeds."""
        ...

    def read_line(
        self, prompt: str, *, hidden: bool, watch: Sequence[int], is_wanted: Callable[[], bool]
    ) -> str | None:
        """Return a line without its end, None at the end of input (Ctrl+D; Ctrl+Z on Windows).

        Args:
            prompt: Shown before.
            hidden: Whether what is typed stays unseen.
            watch: Sockets; as soon as one can be read, `is_wanted` is called.
            is_wanted: Returns whether the line is still wanted.

        Raises:
            AbandonedError: It is not.
            OSError: The terminal is gone.
            UnicodeDecodeError: What was typed is no text.
        """
        ...

    def close(self) -> None:
        """Leave the terminal as it was found."""
        ...


def open_terminal() -> Terminal:
    """Return the terminal of this process; call it in the thread that will use it.

    Raises:
        OSError: There is none.
    """
    if sys.platform == "win32":
        return _Console()
    return _Tty()


class _Tty:
    def __init__(self) -> None:
        self._descriptor = os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        # In the background these would stop the whole process, service and all; blocked in this
        # thread, reading fails with EIO instead and writing just works (tty_ioctl(4)).
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
                # A shell that has suspended and resumed us shows what is typed again.
                self._turn_echo_off()

    def _is_foreground(self) -> bool:
        return os.tcgetpgrp(self._descriptor) == os.getpgrp()

    @contextmanager
    def _echo_off(self) -> Iterator[None]:
        import termios

        before = termios.tcgetattr(self._descriptor)
        self._turn_echo_off()
        # What was typed before this prompt was seen is not meant for it.
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
    """Windows' console, key by key: there is no waiting for keys and sockets at once."""

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
            # An arrow or function key; its code is a second character.
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
