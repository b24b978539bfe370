"""Comparison with pacparser, an implementation of the PAC functions that is based on Mozilla's."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.pac.scripts import fixed_time, run, script_of

pytest.importorskip("pacparser")

URL = "http://www.example.com/path?query=1"
NOW = "Mar 03 2009 03:34:14"
"""A Tuesday."""

Pacparser = Callable[[str], Any]


@pytest.fixture(scope="module")
def pacparser() -> Iterator[Pacparser]:
    """Return a function that runs a script with pacparser."""
    program = subprocess.Popen(
        [sys.executable, "-m", "tests.pac.pacparser_process"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert program.stdin
    assert program.stdout
    requests, answers = program.stdin, program.stdout

    def answer(script: str) -> Any:
        request = [script, URL, "www.example.com", "10.1.2.3"]
        requests.write(json.dumps(request) + "\n")
        requests.flush()
        return json.loads(answers.readline())

    yield answer
    requests.close()
    program.wait()
    answers.close()


def both(pacparser: Pacparser, calls: list[str], now: str = NOW) -> tuple[list[Any], list[Any]]:
    """Return the values of calls in TrayProxy and in pacparser."""
    script = script_of(calls, now=now)
    answer = run(script, URL, own=("10.1.2.3",)).answer
    assert answer is not None
    return json.loads(answer), json.loads(pacparser(script))


DIFFERENT = [
    # A range whose end is before its beginning; TrayProxy follows Chromium.
    ('weekdayRange("SAT", "WED")', True, False),
    ('dateRange("SEP", "APR")', True, False),
    ("timeRange(3, 34, 1, 0)", True, False),
    ("timeRange(22, 4)", True, False),
    # TrayProxy requires valid networks and masks, as Chromium does.
    ('isInNet("192.0.2.1", "192.0.2.1", "255.255.255.255.0")', False, True),
    ('isInNet("10.0.0.0", "10", "255.0.0.0")', False, True),
    # IPv6 addresses are no host names (Chromium).
    ('isPlainHostName("::1")', False, True),
    # An expression that is not valid; the pattern is then compared literally.
    ('shExpMatch("a(b", "a(b")', True, "SyntaxError"),
    # An IPv6 network without "::" is not valid (Chromium).
    ('isInNetEx("3ffe:8311:ffff::1", "3ffe:8311:ffff/48")', False, True),
    # An IPv4 address belongs to the network ::ffff:0:0/96 (Chromium).
    ('isInNetEx("192.168.1.1", "::ffff:192.168.1.1/112")', True, False),
    # A network of the length 0 contains all addresses; in pacparser, a shift by 32 bits is none.
    ('isInNetEx("10.0.0.1", "192.0.2.9/0")', True, False),
    # Two arguments of the wrong kind (Chromium).
    ("isInNetEx(null, null)", None, "TypeError"),
    # Months end with their last day: in pacparser, "31 February" is 3 March. In November, the same
    # applies to the months of 30 days.
    ('dateRange("JAN", "FEB")', False, True),
]


@pytest.mark.parametrize(("call", "ours", "theirs"), DIFFERENT)
def test_the_differences_are_known(pacparser: Pacparser, call: str, ours: Any, theirs: Any) -> None:
    (own,), (other,) = both(pacparser, [call])

    assert own == ours
    if isinstance(theirs, str):
        assert str(other).startswith(theirs)
    else:
        assert other == theirs


LABELS = st.sampled_from(["www", "example", "a", "b-1", "corp", "com", "net", "ww"])
HOSTS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
DOMAINS = st.builds(lambda dot, host: dot + host, st.sampled_from(["", "."]), HOSTS)
BYTES = st.sampled_from([0, 1, 10, 127, 128, 192, 254, 255])
IPV4 = st.lists(BYTES, min_size=4, max_size=4).map(lambda parts: ".".join(map(str, parts)))
MASKS = st.integers(0, 32).map(
    lambda bits: ".".join(str(byte) for byte in ((1 << 32) - (1 << (32 - bits))).to_bytes(4))
)
WORDS = st.lists(
    st.sampled_from(["0", "1", "fd00", "ffff", "2001", "db8"]), min_size=8, max_size=8
).map(":".join)
PATTERNS = st.lists(
    st.sampled_from(["*", "?", ".", "www", "example", "com", "a", "/", "(a|www)", "[a-z]"]),
    max_size=6,
).map("".join)
DAYS = st.sampled_from(["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT", "XYZ"])
MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]


def call(name: str, *arguments: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    return st.tuples(*arguments).map(lambda values: f"{name}({', '.join(map(json.dumps, values))})")


def ascending(name: str, *parts: st.SearchStrategy[Any]) -> st.SearchStrategy[str]:
    """Return calls with two groups of parts, of which the first is not after the second."""
    groups = st.lists(st.tuples(*parts), min_size=2, max_size=2).map(sorted)
    return groups.map(lambda pair: f"{name}({', '.join(json.dumps(v) for g in pair for v in g)})")


def date_range(*parts: object) -> str:
    """Return a call with numbers and the indexes of months, written as ``[month]``."""
    texts = (json.dumps(MONTHS[part[0]] if isinstance(part, list) else part) for part in parts)
    return f"dateRange({', '.join(texts)})"


# February as an end is in DIFFERENT.
MONTH = st.integers(0, 11).filter(lambda month: month != 1)
DAY = st.integers(1, 28)
YEAR = st.sampled_from([2008, 2009, 2010])
DATES = st.lists(st.tuples(YEAR, MONTH, DAY), min_size=2, max_size=2).map(sorted)
DAYS_OF_YEAR = st.lists(st.tuples(MONTH, DAY), min_size=2, max_size=2).map(sorted)
DATE_RANGES = st.one_of(
    DATES.map(lambda two: date_range(*(p for y, m, d in two for p in (d, [m], y)))),
    DAYS_OF_YEAR.map(lambda two: date_range(*(p for m, d in two for p in (d, [m])))),
    DAYS_OF_YEAR.map(lambda two: date_range(*([m] for m, _ in two))),
    st.lists(DAY, min_size=2, max_size=2).map(lambda two: date_range(*sorted(two))),
    DAY.map(date_range),
    YEAR.map(date_range),
    MONTH.map(lambda month: date_range([month])),
)
CALLS = st.one_of(
    call("dnsDomainIs", HOSTS, DOMAINS),
    call("localHostOrDomainIs", HOSTS, HOSTS),
    call("dnsDomainLevels", HOSTS),
    call("isPlainHostName", HOSTS),
    call("shExpMatch", HOSTS, PATTERNS),
    call("isInNet", IPV4, IPV4, MASKS),
    call("isResolvable", IPV4),
    call("dnsResolve", IPV4),
    call("convert_addr", IPV4),
    st.builds(
        lambda address, network, bits: f'isInNetEx("{address}", "{network}/{bits}")',
        IPV4,
        IPV4,
        st.integers(1, 33),
    ),
    st.builds(
        lambda address, network, bits: f'isInNetEx("{address}", "{network}/{bits}")',
        WORDS,
        WORDS,
        st.integers(0, 129),
    ),
    call("weekdayRange", DAYS),
    st.just("myIpAddress()"),
    DATE_RANGES,
    call("timeRange", st.integers(0, 23)),
    ascending("timeRange", st.integers(0, 23)),
    ascending("timeRange", st.integers(0, 23), st.sampled_from([0, 33, 34, 35, 59])),
    ascending("timeRange", st.integers(2, 4), st.just(34), st.sampled_from([0, 13, 14, 15])),
)
COMPARED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@COMPARED
@given(calls=st.lists(CALLS, min_size=1, max_size=12))
def test_calls_have_the_same_values(pacparser: Pacparser, calls: list[str]) -> None:
    ours, theirs = both(pacparser, calls)

    assert dict(zip(calls, ours, strict=True)) == dict(zip(calls, theirs, strict=True))


@COMPARED
@given(
    conditions=st.lists(st.tuples(CALLS, st.sampled_from(["&&", "||"]), CALLS), max_size=6),
    uses_let=st.booleans(),
)
def test_scripts_give_the_same_answer(
    pacparser: Pacparser, conditions: list[tuple[str, str, str]], uses_let: bool
) -> None:
    lines = [f"{'let' if uses_let else 'var'} answer = 'DIRECT';"]
    for number, (first, operator, second) in enumerate(conditions):
        lines.append(f"if ({first} {operator} !({second})) answer += '; PROXY p{number}:80';")
    body = "\n".join(lines)
    function = f"function FindProxyForURL(url, host) {{\n{body}\nreturn answer + url + host;\n}}"
    script = fixed_time(NOW) + function

    assert run(script, URL, own=("10.1.2.3",)).answer == pacparser(script)
