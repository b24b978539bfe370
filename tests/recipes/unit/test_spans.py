"""Tests for trayproxy.recipes.spans."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayproxy.recipes.spans import Span, changed, difference, inverse, line_with_login

TEXTS = st.lists(
    st.sampled_from([b"a = 1\n", b"b = 2\r\n", b"[x]\n", b"\n", b"\xff\x00", b"secret"])
).map(b"".join)


@given(TEXTS, TEXTS)
def test_a_difference_can_be_applied_and_undone(one: bytes, other: bytes) -> None:
    spans = difference(one, other)
    assert changed(one, spans) == other
    assert changed(other, inverse(spans)) == one
    assert not (one == other and spans)


@given(TEXTS, TEXTS, TEXTS)
def test_the_spans_of_another_text_lose_nothing(one: bytes, other: bytes, third: bytes) -> None:
    spans = difference(one, other)
    found = changed(third, spans)
    assert found is None or changed(found, inverse(spans)) == third


def test_a_span_contains_only_the_changed_lines() -> None:
    one = b'{"auths": {"r": {"auth": "c2VjcmV0"}}, "proxies": {"x": 1}}'
    other = b'{"new": 2, "auths": {"r": {"auth": "c2VjcmV0"}}, "proxies": {"x": 1, "y": 2}}'
    spans = difference(one, other)
    assert changed(one, spans) == other
    assert not any(b"c2VjcmV0" in span.removed + span.inserted for span in spans)


def test_a_large_file_on_one_line_is_compared_at_its_ends() -> None:
    one = b"[" + b"1, " * 20_000 + b"2]"
    other = one.replace(b"2]", b"3]")
    assert difference(one, other) == (Span(len(one) - 2, b"2", b"3"),)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"p = http://jdoe:secret@proxy.example:8080", b"p = http://127.0.0.1:3128"),
        (b"p = http://jdoe:secret@proxy.example:8080", b""),
        (b'p = "http://jdoe:se\\"cr,et@proxy.example"', b'p = "http://127.0.0.1:3128"'),
        (b"p = http://CORP%5Cjdoe:it's@proxy.example", b"p = http://127.0.0.1:3128"),
        (b"p = jdoe:secret@proxy.example:8080", b"p = http://127.0.0.1:3128"),
        (b"p=jdoe:secret@proxy.example", b"p=http://127.0.0.1:3128"),
        (b"<v>http://jdoe:secret@proxy.example</v>", b"<v>http://127.0.0.1:3128</v>"),
        (b'{"a":1,"p":"http://jdoe:p@ss@proxy.example","b":2}', b'{"a":1,"p":"http://1","b":2}'),
    ],
)
def test_a_removed_login_is_found(old: bytes, new: bytes) -> None:
    original = b"# 1\n# 2\n" + old + b"\n# 4\n"
    wanted = original.replace(old, new)
    assert line_with_login(original, difference(original, wanted)) == 3


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"proxy = http://proxy.example:8080\n", b"proxy = http://127.0.0.1:3128\n"),
        (b"a = http://u:p@x.example\n", b"a = http://u:p@x.example\nproxy = http://127.0.0.1:1\n"),
        (b"mail = jdoe@example.org\n", b""),
        (b'{"a": "http://u:p@x", "b": 1}', b'{"a": "http://u:p@x", "b": 2}'),
    ],
)
def test_nothing_else_is_a_removed_login(old: bytes, new: bytes) -> None:
    assert line_with_login(old, difference(old, new)) is None
