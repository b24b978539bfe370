"""The log: five files of one megabyte, without secrets, and without delays for the program.

Records are written on a separate thread: a slow disk does not delay requests. Records are dropped
if a full disk, a closed terminal or a stopped terminal does not accept them (security.md F31).
Every line is redacted, because libraries may log secrets (T16).
"""

import contextlib
import copy
import logging
import os
import queue
import re
import sys
from collections.abc import Mapping
from io import TextIOWrapper
from logging import FileHandler
from logging.handlers import QueueHandler, RotatingFileHandler
from pathlib import Path
from threading import RLock, Thread
from typing import TextIO, cast

from trayproxy.paths import make_private

LEVEL_VARIABLE = "TRAYPROXY_LOG_LEVEL"
"""The environment variable for the log level: ``DEBUG``, ``INFO`` (the default), ``WARNING`` or
``ERROR``."""

_FILE_SIZE = 1_000_000
_BACKUP_COUNT = 4
_QUEUE_SIZE = 10_000
"""The maximum number of records in the queue; further records are dropped."""

_STOP_TIMEOUT_S = 2.0
"""The timeout of `Logs.stop` for a place in the queue, and for progress of the writer."""

_MAX_LENGTH = 10_000
"""The maximum length of a message and of a traceback, in characters."""

_HIDDEN = "[hidden]"
# A field's value ends at the end of the line, or at a line end or quote of a `repr`.
_SECRET_FIELD = re.compile(
    r"\b((?:proxy-)?authorization|(?:set-)?cookie2?)"
    r"([\"']?[ \t]*[:=,][ \t]*b?[\"']?)(?:(?!\\r|\\n|[\r\n\"']).)*",
    re.IGNORECASE,
)
_CREDENTIALS = re.compile(
    r"\b(Basic|Bearer|Negotiate|NTLM)( +)(?!\w+=[\"\w])[A-Za-z0-9+/_~.-]{4,}=*", re.IGNORECASE
)
# The tokens in pyspnego's debug log, and any NTLM message.
_TOKENS = re.compile(r"(\bstep (?:in|out)put: ?|\bTlRMTVNTU)[A-Za-z0-9+/]+=*")
_DIGEST = re.compile(r"\b(response|cnonce)( ?= ?\"?)[0-9A-Za-z+/=]+", re.IGNORECASE)
_USER_INFO = re.compile(r"(?<=://)[^\s/?#\"'<>]*@")
# Matches a URL with or without a query, so that untrusted text is scanned in linear time.
_URL = re.compile(r"\b[A-Za-z][A-Za-z0-9+.-]{0,15}://[^\s#\"'<>]+")
_TARGET_QUERY = re.compile(r"((?:^|[\s\"'])/[^\s?#\"'<>]*\?)[^\s#\"'<>]+")
_CONTROL = {n: f"\\x{n:02x}" for n in (*range(0x20), *range(0x7F, 0xA0)) if chr(n) not in "\n\t"}


def redact(text: str) -> str:
    """Return the text without values that give access: passwords, cookies, query strings."""
    text = _SECRET_FIELD.sub(rf"\1\2{_HIDDEN}", text)
    text = _TOKENS.sub(rf"\1{_HIDDEN}", text)
    text = _CREDENTIALS.sub(rf"\1\2{_HIDDEN}", text)
    text = _DIGEST.sub(rf"\1\2{_HIDDEN}", text)
    text = _USER_INFO.sub(f"{_HIDDEN}@", text)
    text = _URL.sub(_without_query, text)
    return _TARGET_QUERY.sub(rf"\1{_HIDDEN}", text)


def _without_query(url: re.Match[str]) -> str:
    path, mark, query = url[0].partition("?")
    return f"{path}{mark}{_HIDDEN if query else ''}"


class Logs:
    """The log of this process, from `start` to `stop`."""

    def __init__(self) -> None:
        self._writer: _Writer | None = None
        self._queue_handler: logging.Handler | None = None

    def start(
        self, file: Path | None, *, to_stderr: bool, environ: Mapping[str, str] = os.environ
    ) -> None:
        """Start logging; continue without a log file if it cannot be created.

        Args:
            file: The newest log file; its folder is made private. None for no file.
            to_stderr: True to log to standard error too.
            environ: The environment with `LEVEL_VARIABLE`.
        """
        handlers: list[logging.Handler] = []
        if file is not None:
            # A missing log file must not keep TrayProxy from starting.
            with contextlib.suppress(OSError):
                make_private(file.parent)
                handlers.append(_LogFile(file))
        if to_stderr and (descriptor := _standard_error()) is not None:
            handlers.append(_StandardError(descriptor))
        for handler in handlers:
            handler.setFormatter(_Formatter())
        records: queue.Queue[logging.LogRecord | None] = queue.Queue(_QUEUE_SIZE)
        self._queue_handler = _RecordQueueHandler(records)
        self._writer = _Writer(records, handlers)
        # Otherwise handlers write their errors to standard error, which may be closed.
        logging.raiseExceptions = False
        logging.captureWarnings(capture=True)
        self._writer.start()
        root = logging.getLogger()
        root.addHandler(self._queue_handler)
        root.setLevel(_level(environ))

    def stop(self) -> None:
        """Write the queued records and stop logging; harmless before `start`.

        Records are dropped if the disk or the terminal does not accept them within two seconds.
        """
        if self._writer is None or self._queue_handler is None:
            return
        logging.captureWarnings(capture=False)
        logging.getLogger().removeHandler(self._queue_handler)
        self._writer.stop()
        self._writer = self._queue_handler = None


class _Writer:
    """The thread that writes the records; only this thread uses the handlers."""

    def __init__(
        self, records: "queue.Queue[logging.LogRecord | None]", handlers: list[logging.Handler]
    ) -> None:
        self._records = records
        self._handlers = handlers
        # A daemon thread: a blocked write must not keep the program from ending.
        self._thread = Thread(target=self._run, name="log", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        try:
            self._records.put(None, timeout=_STOP_TIMEOUT_S)
        except queue.Full:
            return
        waiting = _QUEUE_SIZE + 1
        # Wait while the queue becomes shorter.
        while self._thread.is_alive() and waiting > (waiting := self._records.qsize()):
            self._thread.join(_STOP_TIMEOUT_S)

    def _run(self) -> None:
        while (record := self._records.get()) is not None:
            for handler in self._handlers:
                handler.handle(record)
        for handler in self._handlers:
            # close() writes buffered data again and may fail again.
            with contextlib.suppress(OSError):
                handler.close()


class _RecordQueueHandler(QueueHandler):
    """Queues records; the writer's thread formats them."""

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        # Format the arguments now: the objects may change or be closed before the writer runs.
        record = copy.copy(record)
        record.msg, record.args = record.getMessage(), None
        if record.exc_info:
            record.exc_text = record.exc_text or _Formatter().formatException(record.exc_info)
            record.exc_info = None
        return record


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # A record is a single line: text from the network must not look like another record.
        message = record.getMessage().replace("\n", "\\n").translate(_CONTROL)
        text = f"{self.formatTime(record)} {record.levelname} {record.name}: {_truncated(message)}"
        if record.exc_text:
            text += "\n" + _truncated(record.exc_text.translate(_CONTROL))
        return text


def _truncated(text: str) -> str:
    # Redact before truncating: a truncated secret might not be recognised.
    text = redact(text)
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}… ({len(text)} characters)"


class _LocklessHandler(logging.Handler):
    """A handler used by only one thread, with a lock that never waits.

    `logging.shutdown` acquires the lock of every handler when Python ends; a writer that blocks on
    a stopped terminal would keep the program from ending. The attribute must not be None: from
    CPython 3.13 on `logging.Handler.handle` runs ``with self.lock``.
    """

    def createLock(self) -> None:  # noqa: N802  # logging's name
        self.lock = cast("RLock", contextlib.nullcontext())

    def acquire(self) -> None:
        pass

    def release(self) -> None:
        pass


class _LogFile(_LocklessHandler, RotatingFileHandler):
    def __init__(self, file: Path) -> None:
        super().__init__(
            file,
            maxBytes=_FILE_SIZE,
            backupCount=_BACKUP_COUNT,
            encoding="utf-8",
            errors="backslashreplace",
        )

    def emit(self, record: logging.LogRecord) -> None:
        stream = self.stream
        if stream is not None and not self._is_current(stream):
            # Another program has rotated or removed the file or its folder: open a new file.
            with contextlib.suppress(OSError):
                stream.close()
            self.stream = None
        # On Windows, a file that another program has open cannot be renamed; it then keeps growing.
        with contextlib.suppress(OSError):
            if self.shouldRollover(record):
                self.doRollover()
        with contextlib.suppress(OSError):
            FileHandler.emit(self, record)

    def _is_current(self, stream: TextIO) -> bool:
        try:
            return os.path.samestat(os.stat(self.baseFilename), os.fstat(stream.fileno()))
        except OSError:
            return False

    def _open(self) -> TextIOWrapper:
        make_private(Path(self.baseFilename).parent)
        # Mode 0600: the umask may permit other users to read new files.
        # O_NONBLOCK: opening a FIFO at this path fails instead of blocking.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NONBLOCK", 0)
        descriptor = os.open(self.baseFilename, flags, 0o600)
        return open(descriptor, "a", encoding=self.encoding, errors=self.errors)


class _StandardError(_LocklessHandler):
    """Writes to the descriptor of standard error, without Python's buffers.

    At exit, Python acquires the lock of its buffers; a stopped terminal (Ctrl+S), or a program that
    no longer reads, would block the exit.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor

    def emit(self, record: logging.LogRecord) -> None:
        octets = f"{self.format(record)}\n".encode("utf-8", "backslashreplace")
        # Standard error is closed: the failure cannot be reported.
        with contextlib.suppress(OSError):
            while octets:
                octets = octets[os.write(self._descriptor, octets) :]


def _standard_error() -> int | None:
    """Return the descriptor of standard error, None if it has none."""
    try:
        return sys.stderr.fileno()
    except (AttributeError, OSError, ValueError):
        return None


def _level(environ: Mapping[str, str]) -> int:
    levels = logging.getLevelNamesMapping()
    return levels.get(environ.get(LEVEL_VARIABLE, "").upper(), logging.INFO)
