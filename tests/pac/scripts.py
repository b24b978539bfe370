"""Runs PAC scripts and single calls of PAC functions, without threads and name servers."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from trayproxy.pac.script_context import RunRequest, RunResult, ScriptRunner

Names = Mapping[str, tuple[str, ...]]

_FIXED_TIME = """
class FixedDate extends Date {{
  constructor(...parts) {{ parts.length && !{always} ? super(...parts) : super({now}); }}
}}
Date = FixedDate;
"""


def run(
    script: str,
    url: str = "http://site.example/",
    *,
    names: Names | None = None,
    own: tuple[str, ...] = ("10.1.2.3", "fd00::3"),
    limit_s: float = 1.0,
) -> RunResult:
    """Run a script once; a name without an entry in `names` is not resolvable."""
    host = url.partition("://")[2].partition("/")[0].partition(":")[0]
    request = RunRequest(url, host, names or {}, own, names_left=0, limit_s=limit_s)
    return ScriptRunner(script).run(request)


def fixed_time(now: str, *, is_always: bool = False) -> str:
    """Return the beginning of a script that sets the time, see `script_of`."""
    return _FIXED_TIME.format(now=json.dumps(now), always=json.dumps(is_always))


def script_of(expressions: Sequence[str], *, now: str = "", is_always: bool = False) -> str:
    """Return a script with the answer JSON: the values of expressions.

    The value of an expression that throws is a text.

    Args:
        expressions: Expressions of JavaScript.
        now: The fixed time, as in ``Mar 03 2009 03:34:01``.
        is_always: True if every new date is `now`, as with the mock of Chromium's test.
    """
    lines = ["function FindProxyForURL(url, host) { var values = [];"]
    for expression in expressions:
        lines.append(
            f"try {{ values.push({expression}); }} catch (e) {{ values.push(String(e)); }}"
        )
    lines.append("return JSON.stringify(values); }")
    return (fixed_time(now, is_always=is_always) if now else "") + "\n".join(lines)


def values(
    expressions: Sequence[str], *, now: str = "", is_always: bool = False, **settings: Any
) -> list[Any]:
    """Return the values of expressions, see `script_of`; for the settings, see `run`."""
    result = run(script_of(expressions, now=now, is_always=is_always), **settings)
    assert result.failure is None, result.failure
    assert result.answer is not None
    found: list[Any] = json.loads(result.answer)
    return found
