"""Tests for trayproxy.control.codec."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.control.running import STATUS
from tests.support.examples import examples
from tests.support.values import PROMPT
from trayproxy.auth.login import Login
from trayproxy.control.codec import (
    MAX_LINE,
    LineSplitter,
    ProtocolError,
    decode_request,
    decode_service_message,
    encode,
)
from trayproxy.control.messages import (
    AnswerPrompt,
    CheckProfile,
    CheckResult,
    DeclinePrompt,
    Done,
    Envelope,
    Event,
    Failed,
    GetStatus,
    Hello,
    PromptChanged,
    PromptClosed,
    Reply,
    Request,
    SaveLogin,
    SaveProfile,
    ShowWindow,
    StatusChanged,
    Step,
    StepState,
    UseProfile,
)
from trayproxy.domain.problem import Problem
from trayproxy.domain.signin import Ending, Snooze
from trayproxy.profiles.profile import Profile, SignIn, Upstream

SECRET = "canary-Zm9v\n\u2028 ü"
OFFICE = Profile("office", "Büro", Upstream("::1", 1), SignIn.NONE, "CORP\\jdoe", ("*.corp",))


@pytest.mark.parametrize(
    "request_",
    [
        Hello("tray", True, pid=7),
        GetStatus(),
        SaveProfile(OFFICE),
        CheckProfile(OFFICE, "http://other.example/"),
        AnswerPrompt(3, Login("jdoe", SECRET), remember=True),
        DeclinePrompt(3, Snooze.A_WHILE),
        SaveLogin("office", Login("jdoe", SECRET)),
        ShowWindow("token"),
    ],
    ids=lambda request: type(request).__name__,
)
def test_a_request_is_decoded_as_it_was_encoded(request_: Request) -> None:
    line = encode(Envelope(request_, 9))
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert decode_request(line) == (request_, 9)


@pytest.mark.parametrize(
    "message",
    [
        Done(),
        Failed(Problem("TP-201", "title", "body"), 5),
        STATUS,
        CheckResult((Step("find", StepState.OK, "10.0.0.1", 1.5), Step("x", StepState.FAILED))),
        StatusChanged(STATUS),
        PromptChanged(PROMPT),
        PromptClosed(1, Ending.ACCEPTED),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_service_message_is_decoded_as_it_was_encoded(message: Reply | Event) -> None:
    assert decode_service_message(encode(Envelope(message, 9))) == Envelope(message, 9)


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_unicode_text_is_preserved(text: str) -> None:
    line = encode(Envelope(AnswerPrompt(1, Login(text, text), remember=False), 1))
    assert decode_request(line) == (AnswerPrompt(1, Login(text, text), remember=False), 1)


@examples(50)
@given(st.binary() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(repr))
def test_arbitrary_octets_raise_a_protocol_error(octets: bytes | str) -> None:
    line = octets if isinstance(octets, bytes) else octets.encode("utf-8", "replace")
    with pytest.raises(ProtocolError):
        decode_request(line)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'{"type": "GetStatus"}',
        b'{"type": "Done", "number": 1, "message": {}}',
        b'{"type": "__class__", "number": 1, "message": {}}',
        b'{"type": "GetStatus", "number": 1, "message": []}',
        b'{"type": "GetStatus", "number": "1", "message": {}}',
        b'{"type": "GetStatus", "number": 1.5, "message": {}}',
        b'{"type": "UseProfile", "number": 1, "message": {}}',
        b'{"type": "UseProfile", "number": 1, "message": {"profile_id": 3}}',
        b'{"type": "DeclinePrompt", "number": 1, "message": {"number": 1, "snooze": "for ever"}}',
        b'{"type": "UseProfile", "number": 1, "message": {"profile_id": "\xff"}}',
        b'{"type": "UseProfile", "number": 1, "message": {"profile_id": "a"}} trailing',
        b"[" * 100_000,
        b'{"type": "UseProfile", "number": 1, "message": ' + b'{"a":' * 50_000,
        b"GET / HTTP/1.1",
    ],
    ids=range(18),
)
def test_a_malformed_request_raises_a_protocol_error(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode_request(line)


def test_a_protocol_error_does_not_quote_the_message() -> None:
    body = {"number": 1, "login": {"user": "jdoe", "password": [SECRET]}, "remember": SECRET}
    line = json.dumps({"type": "AnswerPrompt", "number": 4, "message": body}).encode()
    with pytest.raises(ProtocolError) as caught:
        decode_request(line)
    assert caught.value.number == 4
    assert caught.value.__cause__ is None
    assert "canary" not in repr(caught.getrepr(chain=False))


def test_unknown_members_of_a_newer_front_end_are_ignored() -> None:
    line = b'{"type": "UseProfile", "number": 1, "new": 1, "message": {"profile_id": "a", "x": 1}}'
    assert decode_request(line) == (UseProfile("a"), 1)


@pytest.mark.parametrize("text", ["x" * MAX_LINE, "\udcff"], ids=["long", "surrogate"])
def test_an_unencodable_message_raises_a_protocol_error(text: str) -> None:
    with pytest.raises(ProtocolError):
        encode(Envelope(UseProfile(text), 1))


@given(st.lists(st.binary(max_size=20).map(lambda b: b.replace(b"\n", b""))), st.integers(1, 9))
def test_lines_are_split_for_any_chunk_size(lines: list[bytes], size: int) -> None:
    stream = b"".join(line + b"\n" for line in lines)
    reader = LineSplitter()
    chunks = (stream[at : at + size] for at in range(0, len(stream), size))
    assert list(itertools.chain.from_iterable(map(reader.feed, chunks))) == lines


def test_a_line_has_a_maximum_length() -> None:
    assert list(LineSplitter(4).feed(b"abc\n")) == [b"abc"]
    for chunks in [[b"abcd\n"], [b"abcd"], [b"ab", b"c", b"d"], [b"ab", b"cd\n"]]:
        reader = LineSplitter(4)
        with pytest.raises(ProtocolError):
            list(itertools.chain.from_iterable(map(reader.feed, chunks)))
