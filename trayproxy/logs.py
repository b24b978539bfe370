"""The log: five files of a megabyte, nothing secret in them, and never in the way.

Records are handed to a thread, so that a slow disk does not delay a request; what a full disk or a
closed terminal refuses is dropped (security.md F31). Every line passes one redaction, whoever wrote
it: libraries log what they like (T16).
"""

import contextlib
import copy
import logging
import os
import queue
import re
from collections.abc import Mapping
from io import TextIOWrapper
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path

from trayproxy.paths import make_private

LEVEL_VARIABLE = "TRAYPROXY_LOG_LEVEL"
"""``DEBUG``, ``INFO`` (the default), ``WARNING`` or ``ERROR``."""

_FILE_SIZE = 1_000_000
_OLD_FILES = 4
_WAITING = 10_000
"""Records that may wait for the disk; more are dropped."""

_LENGTH = 10_000
"""Characters of a message, and of a trace, that are written."""

_HIDDEN = "[hidden]"
# A field's value ends with its line, or where a line end, quote or bracket of a `repr` stands.
_SECRET_FIELD = re.compile(
    r"\b((?:proxy-)?authorization|(?:set-)?cookie2?)"
    r"([\"']?[ \t]*[:=,][ \t]*b?[\"']?)(?:(?!\\r|\\n|[\r\n\"']).)*",
    re.IGNORECASE,
)
_CREDENTIALS = re.compile(
    r"\b(Basic|Bearer|Negotiate|NTLM)( +)(?!\w+=[\"\w])[A-Za-z0-9+/_~.-]{4,}=*", re.IGNORECASE
)
_DIGEST = re.compile(r"\b(response|cnonce)( ?= ?\"?)[0-9A-Za-z+/=]+", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^\s/?#\"'<>]*@")
# Bounded, or a stranger's text of many beginnings would be read once from each of them.
_URL_QUERY = re.compile(r"(\b[A-Za-z][A-Za-z0-9+.-]{0,15}://[^\s?#\"'<>]{0,2000}\?)[^\s#\"'<>]+")
_TARGET_QUERY = re.compile(r"((?:^|[\s\"'])/[^\s?#\"'<>]*\?)[^\s#\"'<>]+")
_CONTROL = {n: f"\\x{n:02x}" for n in (*range(0x20), *range(0x7F, 0xA0)) if chr(n) not in "\n\t"}


def redact(text: str) -> str:
    """Return the text without values that give access: passwords, cookies, query strings."""
    text = _SECRET_FIELD.sub(rf"\1\2{_HIDDEN}", text)
    text = _CREDENTIALS.sub(rf"\1\2{_HIDDEN}", text)
    text = _DIGEST.sub(rf"\1\2{_HIDDEN}", text)
    text = _USER_INFO.sub(f"{_HIDDEN}@", text)
    text = _URL_QUERY.sub(rf"\1{_HIDDEN}", text)
    return _TARGET_QUERY.sub(rf"\1{_HIDDEN}", text)


class Logs:
    """The log of this process, from `start` to `stop`."""

    def __init__(self) -> None:
        self._listener: QueueListener | None = None
        self._entrance: logging.Handler | None = None

    def start(
        self, file: Path | None, *, to_stderr: bool, environ: Mapping[str, str] = os.environ
    ) -> None:
        """Log from now on. A file that cannot be made is done without.

        Args:
            file: The newest file; its folder is made private. None: no file.
            to_stderr: Whether the terminal, or whatever is there, gets the log too.
            environ: Has `LEVEL_VARIABLE`.
        """
        handlers: list[logging.Handler] = []
        if file is not None:
            # Without a place for its log TrayProxy is still of use.
            with contextlib.suppress(OSError):
                make_private(file.parent)
                handlers.append(_LogFile(file))
        if to_stderr:
            handlers.append(logging.StreamHandler())
        for handler in handlers:
            handler.setFormatter(_Formatter())
        records: queue.Queue[logging.LogRecord] = queue.Queue(_WAITING)
        self._entrance = _Entrance(records)
        self._listener = QueueListener(records, *handlers)
        # Else handlers write what failed, with the record, to a terminal that may be gone.
        logging.raiseExceptions = False
        logging.captureWarnings(capture=True)
        self._listener.start()
        root = logging.getLogger()
        root.addHandler(self._entrance)
        root.setLevel(_level(environ))

    def stop(self) -> None:
        """Write what waits, and log nothing more; harmless when not started."""
        if self._listener is None or self._entrance is None:
            return
        logging.captureWarnings(capture=False)
        logging.getLogger().removeHandler(self._entrance)
        self._listener.stop()
        for handler in self._listener.handlers:
            # Closing writes once more what the disk has refused.
            with contextlib.suppress(OSError):
                handler.close()
        self._listener = self._entrance = None


class _Entrance(QueueHandler):
    """Takes records where they arise; they are laid out in the thread that writes them."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        # What the arguments refer to may change or be closed before the thread comes to it.
        record = copy.copy(record)
        record.msg, record.args = record.getMessage(), None
        if record.exc_info:
            record.exc_text = record.exc_text or _Formatter().formatException(record.exc_info)
            record.exc_info = None
        return record


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # One record, one line: what came from the network must not look like another record.
        message = record.getMessage().replace("\n", "\\n").translate(_CONTROL)
        text = f"{self.formatTime(record)} {record.levelname} {record.name}: {_cut(message)}"
        if record.exc_text:
            text += "\n" + _cut(record.exc_text.translate(_CONTROL))
        return text


def _cut(text: str) -> str:
    # First redacted: of a secret that is cut in two, a half might not be recognised.
    text = redact(text)
    return text if len(text) <= _LENGTH else f"{text[:_LENGTH]}… ({len(text)} characters)"


class _LogFile(RotatingFileHandler):
    def __init__(self, file: Path) -> None:
        super().__init__(
            file,
            maxBytes=_FILE_SIZE,
            backupCount=_OLD_FILES,
            encoding="utf-8",
            errors="backslashreplace",
        )

    def _open(self) -> TextIOWrapper:
        # The umask may leave new files open to others.
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        return open(descriptor, "a", encoding=self.encoding, errors=self.errors)


def _level(environ: Mapping[str, str]) -> int:
    levels = logging.getLevelNamesMapping()
    return levels.get(environ.get(LEVEL_VARIABLE, "").upper(), logging.INFO)
