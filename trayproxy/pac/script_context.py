"""Runs a PAC script in an own JavaScript context of QuickJS-ng, with limits of time and memory.

This is the only module that imports quickjs, on first use. All functions run in the thread of
`trayproxy.pac.script_thread`: a context may be used only in the thread that created it.

A script has no access to the network, files, timers, modules and Python. The engine counts the time
limit in CPU time of the process, on Windows in wall-clock time, and releases Python's lock while a
script runs. It checks the limit in JavaScript code and regular expressions, but not in a few
built-in functions, such as ``reverse`` of an object with a huge ``length``: for them, see
`trayproxy.pac.script_thread`.
"""

import json
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from time import process_time
from typing import Any

from trayproxy.domain.problem import single_line
from trayproxy.pac.evaluation import FailureKind, ScriptFailure

TIME_LIMIT_S = 1.0
"""The time for which a script may run for a URL, in all rounds together, in seconds."""
MEMORY_LIMIT = 32 << 20
"""The memory of a context, in bytes."""
STACK_LIMIT = 256 << 10
"""The stack of a context, in bytes; less than the stack of its thread."""

_REPORT_LIMIT_S = 0.1
_PRELUDE_LINE = 50_000
"""The first line of the prelude. The engine gives all code the same file name, so the frames of the
prelude in a stack trace are recognised by their lines."""
_FRAME = re.compile(r"^\s*at (.*?)\(?<input>:(\d+)", re.MULTILINE)
_AT_END = "unexpected token in expression: ''"
_MAX_QUOTED = 200

_NO_ENGINE = (
    "Automatic configuration needs a JavaScript engine, which is not installed. Install it with: "
    'pip install "trayproxy[pac]". Until then, enter the address of the proxy in the profile.'
)
_WEB_PAGE = (
    "The address of the script answers with a web page instead of a script. Check the address. If "
    "the network has a sign-in page, sign in there first."
)
STUCK = (
    "The script uses a function that does not end. The script is switched off until it is changed "
    "or TrayProxy is restarted."
)
_NO_FUNCTION = "The script defines no function FindProxyForURL."
_NO_TEXT = "The function FindProxyForURL of the script returns {} instead of a text."
_RECURSION = "The script calls itself without end."
_TIME_LIMIT = "The script was stopped because it did not finish within a second."
_MEMORY_LIMIT = "The script was stopped because it used more than 32 MB of memory."
_ENGINE_ERRORS = {
    "InternalError: interrupted": (FailureKind.TIME_LIMIT, _TIME_LIMIT),
    # The engine has no memory for an error.
    "null": (FailureKind.MEMORY_LIMIT, _MEMORY_LIMIT),
    "InternalError: out of memory": (FailureKind.MEMORY_LIMIT, _MEMORY_LIMIT),
    "RangeError: Maximum call stack size exceeded": (FailureKind.RECURSION, _RECURSION),
}


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run of a script.

    Attributes:
        url: The URL for the script; empty to load the script without calling its function.
        host: The host for the script.
        names: The known names with their IP addresses.
        own_addresses: The IP addresses of this computer, the preferred address first.
        names_left: The number of further names that may be looked up. With 0, unknown names count
            as not resolvable.
        limit_s: The time limit in seconds.
    """

    url: str
    host: str
    names: Mapping[str, tuple[str, ...]]
    own_addresses: tuple[str, ...]
    names_left: int
    limit_s: float = TIME_LIMIT_S


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of a run.

    If `needed` is not empty, the run must be repeated with the addresses of these names, and the
    other results have no meaning.

    Attributes:
        answer: The text that the script returned; empty without a URL; None after a failure.
        script_s: The CPU time of the run, in seconds.
    """

    answer: str | None = None
    failure: ScriptFailure | None = None
    needed: tuple[str, ...] = ()
    alerts: tuple[str, ...] = ()
    script_s: float = 0.0


class ScriptRunner:
    """Runs one script.

    The context is kept as long as the script gives answers: a script may keep values between two
    calls, as in browsers. After a run that has failed or that must be repeated, the next run has a
    new context, because the script may have stopped half-way.
    """

    def __init__(self, script: str) -> None:
        self._script = script
        self._context: _ScriptContext | None = None
        self._is_running = False

    def run(self, request: RunRequest) -> RunResult:
        """Run the script; no exception of the script leaves this function."""
        if self._is_running:
            # Another thread has been given up in the middle of this script.
            return RunResult(failure=ScriptFailure(FailureKind.STUCK, STUCK))
        self._is_running = True
        try:
            return self._run_in_context(request)
        finally:
            self._is_running = False

    def close(self) -> None:
        """Discard the context."""
        self._context = None

    def _run_in_context(self, request: RunRequest) -> RunResult:
        kept, self._context = self._context, None
        if kept is not None and kept.thread_id == threading.get_ident():
            result = self._run(kept, request)
            failure = result.failure
            if failure is None or failure.kind is FailureKind.TIME_LIMIT or result.needed:
                return result
            # The values that the script has kept may be the reason of the failure.
            request = replace(request, limit_s=request.limit_s - result.script_s)
        try:
            context = _ScriptContext(self._script)
        except ImportError:
            return RunResult(failure=ScriptFailure(FailureKind.NO_ENGINE, _NO_ENGINE))
        return self._run(context, request)

    def _run(self, context: "_ScriptContext", request: RunRequest) -> RunResult:
        started = process_time()
        answer: str | None = None
        failure: ScriptFailure | None = None
        try:
            context.begin(request)
            context.load(request.limit_s)
            left_s = request.limit_s - (process_time() - started)
            answer = context.find(request.url, request.host, left_s)
        except ScriptError as error:
            failure = error.failure
        needed, alerts = context.report()
        if failure is None and not needed:
            self._context = context
        return RunResult(answer, failure, needed, alerts, process_time() - started)


class ScriptError(Exception):
    """A script has failed."""

    def __init__(self, failure: ScriptFailure) -> None:
        super().__init__(failure.reason)
        self.failure = failure


class _ScriptContext:
    """A context with the functions of the prelude.

    Attributes:
        thread_id: The thread that created the context.
    """

    def __init__(self, script: str) -> None:
        """Create the context without running the script.

        Raises:
            ImportError: The engine is not installed.
        """
        from quickjs import Context

        self.thread_id = threading.get_ident()
        self._script = script
        self._is_loaded = False
        self._context = Context()
        self._context.set_memory_limit(MEMORY_LIMIT)
        self._context.set_max_stack_size(STACK_LIMIT)
        self._command = self._context.eval(_prelude())

    def begin(self, request: RunRequest) -> None:
        """Set the names for the next run, and forget the names and alerts of the previous run."""
        names = [[name, found] for name, found in request.names.items()]
        settings = {"names": names, "own": request.own_addresses, "names_left": request.names_left}
        self._call("begin", settings, request.limit_s)

    def load(self, limit_s: float) -> None:
        """Run the script unless it has run, which defines its functions.

        Raises:
            ScriptError: The script has failed.
        """
        if self._is_loaded:
            return
        if self._script.lstrip("\ufeff \t\r\n").startswith("<"):
            raise ScriptError(ScriptFailure(FailureKind.WEB_PAGE, _WEB_PAGE))
        self._call("load", {"script": self._script}, limit_s)
        self._is_loaded = True

    def find(self, url: str, host: str, limit_s: float) -> str:
        """Return the answer of the script for a URL.

        Raises:
            ScriptError: The script has failed, or gives no answer.
        """
        result = self._call("find", {"url": url, "host": host}, limit_s)
        answer = result.get("answer")
        if isinstance(answer, str):
            return answer
        kind = str(result.get("type"))
        if kind == "missing":
            raise ScriptError(ScriptFailure(FailureKind.NO_FUNCTION, _NO_FUNCTION))
        named = "nothing" if kind == "undefined" else f"a value of the type {_quote(kind)}"
        raise ScriptError(ScriptFailure(FailureKind.NO_TEXT, _NO_TEXT.format(named)))

    def report(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the needed names and the alerts of the run."""
        try:
            result = self._call("report", {}, _REPORT_LIMIT_S)
        except ScriptError:
            # The memory is full.
            return (), ()
        needed, alerts = result.get("needed"), result.get("alerts")
        return _texts(needed), tuple(map(_quote, _texts(alerts)))

    def _call(self, command: str, settings: Mapping[str, object], limit_s: float) -> dict[str, Any]:
        """Return the result of a command of the prelude."""
        from quickjs import JSException

        self._context.set_time_limit(max(limit_s, 0.001))
        try:
            text = self._command(command, json.dumps(settings))
        except JSException as error:
            raise ScriptError(_failure(str(error), "")) from None
        try:
            result = json.loads(text)
        except (TypeError, ValueError):
            result = None
        if not isinstance(result, dict):
            raise ScriptError(ScriptFailure(FailureKind.MEMORY_LIMIT, _MEMORY_LIMIT))
        if isinstance(error_text := result.get("error"), str):
            raise ScriptError(_failure(error_text, str(result.get("stack"))))
        return result


@cache
def _prelude() -> str:
    text = files(__package__).joinpath("prelude.js").read_text("utf-8")
    return "\n" * (_PRELUDE_LINE - 1) + text


def _failure(text: str, stack: str) -> ScriptFailure:
    """Return the failure for the text and the stack trace of an exception."""
    for start, (kind, reason) in _ENGINE_ERRORS.items():
        if text.startswith(start):
            return ScriptFailure(kind, reason)
    frames = [(frame[1], int(frame[2])) for frame in _FRAME.finditer(stack)]
    # An error of the parser has no function in its first frame.
    is_syntax = text.startswith("SyntaxError") and bool(frames) and not frames[0][0]
    line = next((line for _, line in frames if line < _PRELUDE_LINE), None)
    place = f" in line {line}" if line else ""
    if is_syntax:
        message = _quote(text.removeprefix("SyntaxError:")).replace(_AT_END, "unexpected end")
        reason = f"The script has a syntax error{place}: {message}."
        return ScriptFailure(FailureKind.SYNTAX, reason, line)
    message = _quote(text).rstrip(".") or "an exception without a text"
    return ScriptFailure(FailureKind.EXCEPTION, f"The script has failed{place}: {message}.", line)


def _texts(values: object) -> tuple[str, ...]:
    return tuple(v for v in values if isinstance(v, str)) if isinstance(values, list) else ()


def _quote(untrusted: str) -> str:
    line = single_line(untrusted)
    return line if len(line) <= _MAX_QUOTED else f"{line[: _MAX_QUOTED - 1]}…"
