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


def values(
    expressions: Sequence[str],
    *,
    now: str = "",
    is_always: bool = False,
    names: Names | None = None,
) -> list[Any]:
    """Return the values of expressions; the value of an expression that throws is a text.

    Args:
        expressions: Expressions of JavaScript.
        now: The fixed time, as in ``Mar 03 2009 03:34:01``.
        is_always: True if every new date is `now`, as with the mock of Chromium's test.
        names: The resolvable names.
    """
    lines = ["function FindProxyForURL(url, host) { var values = [];"]
    for expression in expressions:
        lines.append(
            f"try {{ values.push({expression}); }} catch (e) {{ values.push(String(e)); }}"
        )
    lines.append("return JSON.stringify(values); }")
    always = json.dumps(is_always)
    time = _FIXED_TIME.format(now=json.dumps(now), always=always) if now else ""
    result = run(time + "\n".join(lines), names=names)
    assert result.failure is None, result.failure
    assert result.answer is not None
    found: list[Any] = json.loads(result.answer)
    return found
