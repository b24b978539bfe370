"""The messages of an exchange: what is sent again, held, read ahead and discarded."""

from collections.abc import Coroutine
from dataclasses import replace
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from tests.engine.fakes import LOGIN, FakeBroker
from tests.engine.schemes import ScriptedScheme
from tests.engine.wire import get
from trayproxy.auth.basic import Basic
from trayproxy.auth.scheme import Leg, Offer
from trayproxy.desk.protection_space import UpstreamId
from trayproxy.engine.proxy_auth.auth_messages import AttemptBrokenError, AuthMessages
from trayproxy.engine.proxy_auth.auth_port import (
    ConnectionFacts,
    ConnectionLostError,
    Message,
    Progress,
)
from trayproxy.engine.proxy_auth.challenge_detection import ChallengeDetector
from trayproxy.engine.transfer.replay_buffer import MAX_IN_MEMORY
from trayproxy.http.challenges import Challenge
from trayproxy.http.framing import Length
from trayproxy.http.request import Request, parse_request
from trayproxy.http.response import parse_response

T = TypeVar("T")

OFFICE = UpstreamId("office", "http://proxy.test:3128")
BASIC = FakeBroker().answer_with(OFFICE, Offer(Basic(), Challenge("basic")), LOGIN)
URL = b"http://origin.test/"
GET = parse_request(get(URL))
POST = parse_request(get(URL, b"Content-Length: 7", method=b"POST"))
OK = parse_response(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"GET")
MID_UPLOAD = Progress(
    was_sent=True, content_was_read=True, content_is_read=False, is_repeatable=True
)


class FakePort:
    """The port of one request, which records its calls.

    Attributes:
        progress: How much of the request was read and sent.
        is_lost: True if each message is lost with its connection.
        sent: The messages.
        calls: The names of the other calls.
    """

    def __init__(self, *, authenticates_requests: bool = True) -> None:
        self.detector = ChallengeDetector()
        self.route: Any = SimpleNamespace(
            authenticates_requests=authenticates_requests, upstream_id=OFFICE
        )
        self.progress = Progress(was_sent=True, is_sent=True)
        self.content: bytes | None = b"content"
        self.is_lost, self.is_drained = False, True
        self.sent: list[Message] = []
        self.calls: list[object] = []

    async def send(self, message: Message) -> Any:
        self.sent.append(message)
        if self.is_lost:
            raise ConnectionLostError(ConnectionFacts(1, message.keeps_connection))
        return OK

    async def drain(self, response: object, method: bytes, *, in_handshake: bool) -> bool:
        self.calls.append(("drain", method, in_handshake))
        return self.is_drained

    async def send_continue(self) -> None:
        self.calls.append("continue")

    async def read_content(self) -> None:
        self.calls.append("read")

    def drop(self) -> None:
        self.calls.append("drop")


def messages_of(port: FakePort, request: Request) -> AuthMessages:
    fake: Any = port
    return AuthMessages(fake, request)


def result_of(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that does not wait."""
    with pytest.raises(StopIteration) as stop:
        coroutine.send(None)
    result: T = stop.value.value
    return result


@pytest.mark.parametrize(
    ("authenticates_requests", "is_authenticated", "carries_login", "may_retry"),
    [
        (True, False, False, True),
        (False, False, False, False),
        (True, True, False, False),
        (True, False, True, False),
    ],
    ids=["may be refused", "no sign-in", "authenticated", "with the login"],
)
def test_an_upload_cut_off_is_repeated_if_the_next_hop_may_have_asked_for_a_login(
    authenticates_requests: bool, is_authenticated: bool, carries_login: bool, may_retry: bool
) -> None:
    port = FakePort(authenticates_requests=authenticates_requests)
    port.progress, port.is_lost = MID_UPLOAD, True
    messages = messages_of(port, replace(POST, method=b"PUT"))
    connection, carried = ConnectionFacts(1, is_authenticated), BASIC if carries_login else None
    with pytest.raises(AttemptBrokenError) as broken:
        result_of(messages.send_with(connection, carried, carried))  # type: ignore[arg-type]
    assert (broken.value.may_retry, broken.value.was_unused) == (may_retry, True)
    port.is_lost = False
    result_of(messages.send_with(ConnectionFacts(2), None, None))  # type: ignore[arg-type]
    assert port.sent[-1].holds_content is may_retry


@pytest.mark.parametrize("method", [b"POST", b"PUT"])
def test_after_an_upload_cut_off_with_an_effect_the_next_upload_expects_a_100(
    method: bytes,
) -> None:
    port = FakePort()
    port.progress, port.is_lost = MID_UPLOAD, True
    messages = messages_of(port, replace(POST, method=method))
    with pytest.raises(AttemptBrokenError) as broken:
        result_of(messages.send_with(ConnectionFacts(1), None, None))  # type: ignore[arg-type]
    assert broken.value.may_retry is (method == b"PUT")
    port.is_lost = False
    for request, is_held in ((GET, False), (POST, method == b"POST"), (POST, False)):
        send = messages_of(port, request).send_with(ConnectionFacts(2), None, None)
        result_of(send)  # type: ignore[arg-type]
        assert port.sent[-1].holds_content is is_held


@pytest.mark.parametrize(
    ("changes", "is_on_trial", "is_held"),
    [
        ({}, False, True),
        ({"request": GET}, False, False),
        ({"request": replace(POST, expects_continue=True)}, False, False),
        ({"is_repeatable": True}, False, False),
        ({"authenticates_requests": False}, False, False),
        ({"is_authenticated": True}, False, False),
        ({"carried": BASIC}, False, False),
        # Another login may be required.
        ({"carried": BASIC}, True, True),
    ],
)
def test_content_that_can_be_sent_once_waits_for_a_100_if_a_login_may_be_required(
    changes: dict[str, Any], is_on_trial: bool, is_held: bool
) -> None:
    values: dict[str, Any] = {
        "request": POST,
        "is_repeatable": False,
        "is_authenticated": False,
        "carried": None,
    }
    values |= changes
    port = FakePort(authenticates_requests=changes.get("authenticates_requests", True))
    port.progress = Progress(is_repeatable=values["is_repeatable"])
    messages, carried = messages_of(port, values["request"]), values["carried"]
    messages.is_on_trial = is_on_trial
    connection = ConnectionFacts(1, values["is_authenticated"])
    result_of(messages.send_with(connection, carried, carried, BASIC))  # type: ignore[arg-type]
    (message,) = port.sent
    assert message.holds_content is is_held
    assert message.withheld is (None if carried else BASIC)
    assert message.keeps_connection is values["is_authenticated"]


@pytest.mark.parametrize(
    ("length", "progress", "expects_continue", "calls"),
    [
        (7, Progress(content_is_read=False), False, ["read"]),
        (MAX_IN_MEMORY, Progress(content_is_read=False), False, ["read"]),
        (MAX_IN_MEMORY + 1, Progress(content_is_read=False), False, []),
        (7, Progress(), False, []),
        (7, Progress(content_is_read=False), True, ["continue", "read"]),
        (7, Progress(content_is_read=False, content_was_read=True), True, ["read"]),
    ],
)
@pytest.mark.parametrize("content", [b"content", None])
def test_content_is_read_ahead_once_if_it_fits_in_memory(
    length: int,
    progress: Progress,
    expects_continue: bool,
    calls: list[object],
    content: bytes | None,
) -> None:
    port = FakePort()
    port.progress, port.content = progress, content
    request = replace(POST, framing=Length(length), expects_continue=expects_continue)
    messages = messages_of(port, request)
    was_read = result_of(messages.read_content_ahead())
    assert (was_read, port.calls) == (bool(calls) and content is not None, calls)
    # The client has its 100 already.
    assert messages.request.expects_continue is (expects_continue and "continue" not in calls)


KEPT = b"HTTP/1.1 407 Auth\r\nContent-Length: 0\r\n\r\n"
CLOSED = KEPT.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
OLD = KEPT.replace(b"HTTP/1.1", b"HTTP/1.0")
OLD_UNTIL_CLOSE = b"HTTP/1.0 407 Auth\r\n\r\n"


@pytest.mark.parametrize(
    ("octets", "changes", "is_open"),
    [
        (KEPT, {}, True),
        (CLOSED, {}, False),
        (OLD, {}, False),
        (OLD_UNTIL_CLOSE, {}, False),
        # HTTP/1.0 proxies expect the next leg on the same connection without announcing it.
        (OLD, {"in_handshake": True}, True),
        (OLD_UNTIL_CLOSE, {"in_handshake": True}, False),
        (CLOSED, {"in_handshake": True}, False),
        # Squid does not read the content that follows.
        (KEPT, {"request": POST}, False),
        (KEPT, {"request": POST, "in_handshake": True}, True),
        (KEPT, {"request": POST, "was_whole": False}, True),
        (KEPT, {"is_sent": False}, False),
        (KEPT, {"is_drained": False}, False),
        (KEPT, {"method": b"HEAD"}, True),
    ],
)
def test_a_connection_is_kept_after_a_refusal_only_if_it_can_carry_the_next_message(
    octets: bytes, changes: dict[str, Any], is_open: bool
) -> None:
    port = FakePort()
    changes = dict(changes)
    port.progress = Progress(is_sent=changes.pop("is_sent", True))
    port.is_drained = changes.pop("is_drained", True)
    messages = messages_of(port, changes.pop("request", GET))
    response = parse_response(octets, b"GET")
    assert result_of(messages.discard(response, **changes)) is is_open
    drain = ("drain", changes.get("method", messages.request.method), "in_handshake" in changes)
    assert port.calls == (
        [drain] if is_open else [drain, "drop"] if drain in port.calls else ["drop"]
    )


@pytest.mark.parametrize("request_head", [GET, POST, replace(GET, method=b"POST")])
@pytest.mark.parametrize("kind", ["bound", "constant", "nonce"])
def test_a_head_request_obtains_the_nonce_for_a_request_that_is_sent_once(
    request_head: Request, kind: str
) -> None:
    credentials: Any = SimpleNamespace(
        scheme=SimpleNamespace(binds_connection=kind == "bound"), is_constant=kind == "constant"
    )
    is_probed = messages_of(FakePort(), request_head).probes_by_head(credentials)
    assert is_probed is (kind == "nonce" and request_head is not GET)


FIRST_LEG, LAST_LEG, EMPTY_LEG = Leg(b"NTLM eA==", with_content=False), Leg(b"NTLM eQ=="), Leg(b"")


@pytest.mark.parametrize("is_on_trial", [False, True])
@pytest.mark.parametrize("is_bound", [False, True])
@pytest.mark.parametrize(
    ("leg", "request_head", "has_content", "is_carried"),
    [
        (FIRST_LEG, POST, False, False),
        (FIRST_LEG, GET, True, False),
        (LAST_LEG, POST, True, True),
        (LAST_LEG, GET, True, True),
        (EMPTY_LEG, POST, True, False),
    ],
)
def test_only_a_leg_with_content_carries_the_login_and_the_content(
    leg: Leg,
    request_head: Request,
    has_content: bool,
    is_carried: bool,
    is_bound: bool,
    is_on_trial: bool,
) -> None:
    port = FakePort()
    port.progress = Progress(is_repeatable=False)
    messages = messages_of(port, request_head)
    messages.is_on_trial = is_on_trial
    scheme = ScriptedScheme((leg,), binds_connection=is_bound)
    credentials = FakeBroker().answer_with(OFFICE, Offer(scheme, Challenge("ntlm")), LOGIN)
    result_of(messages.send_leg(credentials, leg))  # type: ignore[arg-type]
    (message,) = port.sent
    assert (message.credentials, message.leg) == (credentials, leg.credentials)
    assert message.carried is (credentials if is_carried else None)
    assert message.has_content is has_content
    assert message.request.framing == (request_head.framing if has_content else Length(0))
    # The last leg of a proved login authenticates the connection, so nothing else can be required.
    is_settled = is_bound and not is_on_trial
    assert message.holds_content is (has_content and request_head is POST and not is_settled)
    assert message.keeps_connection is is_bound
