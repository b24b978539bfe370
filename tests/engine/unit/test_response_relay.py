"""Reading and relaying a response without sockets: waits, deadlines and the end of the connections.

The descriptor of the client is 5, that of the next hop is 7.
"""

from collections.abc import Coroutine
from types import SimpleNamespace
from typing import Any

import pytest

from tests.engine.wire import get
from trayproxy.engine.error_pages import RequestRefusedError
from trayproxy.engine.forward.response_relay import PARTS_PER_TURN, ResponseRelay
from trayproxy.engine.limits import EngineLimits
from trayproxy.engine.net.fd_task import READ, TIMED_OUT, WRITE
from trayproxy.engine.transfer.head_cache import NO_KEY, CachedRequest, HeadCaches
from trayproxy.engine.transfer.response_reader import (
    MAX_INTERIM,
    RequestBodyError,
    ResponseBrokenError,
    SignInFirstError,
)
from trayproxy.engine.upstream.pool import UpstreamConnection
from trayproxy.http.errors import MessageError
from trayproxy.http.request import parse_request

GET = get(b"http://origin.test/")
OLD_GET = GET.replace(b"HTTP/1.1", b"HTTP/1.0")
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n"
DATED = OK.replace(b"\r\n\r\n", b"\r\nDate: now\r\n\r\n")
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\n"


class RelayStream:
    """A stream that receives pieces and records what is sent.

    Attributes:
        pieces: What each read returns: octets, None for nothing yet, or an error; at last the end.
        accepts: How many octets each send accepts; at last all.
    """

    def __init__(self, descriptor: int, *pieces: bytes | OSError | None) -> None:
        self.descriptor = descriptor
        self.pieces = list(pieces)
        self.accepts: list[int] = []
        self.inbox = bytearray()
        self.sent = b""
        self.plain, self.ended, self.truncated = True, False, False
        self.last_data_was_unread = self.is_reset = False

    def fill(self) -> bool:
        piece = self.pieces.pop(0) if self.pieces else b""
        if isinstance(piece, OSError):
            raise piece
        self.ended = piece == b""
        self.inbox += piece or b""
        return bool(piece)

    def take_inbox(self) -> bytes:
        octets = bytes(self.inbox)
        self.inbox.clear()
        return octets

    def send(self, data: bytes) -> int:
        count = min(self.accepts.pop(0), len(data)) if self.accepts else len(data)
        self.sent += bytes(data[:count])
        return count

    def reset_on_close(self) -> None:
        self.is_reset = True


class RelayScenario:
    """The relay of one response, and everything around it.

    Attributes:
        client: The stream of the client.
        stream: The stream of the next hop.
        writer: The writer of the request.
        calls: The other calls.
        relay: The relay.
    """

    def __init__(self, *pieces: bytes | OSError | None, octets: bytes = GET, **sent: Any) -> None:
        self.client, self.stream = RelayStream(5), RelayStream(7, *pieces)
        self.calls: list[object] = []
        values = {
            **{"done": True, "body_done": True, "is_broken": False, "holds_content": False},
            **{"waits_for_client": False, "waits_for_upstream": False, "octets_read": 0},
            **{"needs_sign_in_first": False, "push": lambda: self.calls.append("push")},
        }
        self.writer: Any = SimpleNamespace(**{**values, **sent})
        self.context = SimpleNamespace(
            limits=EngineLimits(max_early_octets=10),
            caches=HeadCaches(),
            via=b"here",
            own_address=SimpleNamespace(via=b"here"),
            counters=SimpleNamespace(received=0),
            pipe_pool=SimpleNamespace(),
        )
        upstream: Any = self.stream
        self.upstream = UpstreamConnection(upstream, NO_KEY)
        self.downstream: Any = SimpleNamespace(
            context=self.context,
            client=self.client,
            upstream=self.upstream,
            deadline=None,
            set_deadline=self._set_deadline,
            events=lambda client, stream, upstream: {5: client, 7: upstream},
            drop_upstream=lambda: self.calls.append("dropped"),
            deliver=self._deliver,
            confirm_tunnel=self._deliver,
            speaks_http=True,
            linger=self._linger,
        )
        self.cached = CachedRequest(parse_request(octets), None)
        self.relay = ResponseRelay(self.downstream, self.cached)

    def _set_deadline(self, seconds: float) -> None:
        self.downstream.deadline = seconds

    async def _deliver(self, data: bytes) -> None:
        self.client.sent += data

    async def _linger(self) -> None:
        self.calls.append("lingered")

    def head(self) -> Coroutine[Any, Any, Any]:
        """Return the reading of the head, at its first wait."""
        return self.relay.read_head(self.writer, self.upstream)

    async def _all(self) -> Any:
        return await self.relay.relay(self.writer, await self.head())

    def whole(self) -> Coroutine[Any, Any, Any]:
        """Return the reading and relaying of the whole response."""
        return self._all()


def step(task: Coroutine[Any, Any, Any], woken: int | None = None) -> dict[int, int]:
    """Continue a coroutine to its next wait; return the events of the wait."""
    events: dict[int, int] = task.send(woken).events
    return events


def result_of(task: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine that the next hop wakes until it ends."""
    step(task)
    while True:
        try:
            step(task, 7)
        except StopIteration as stop:
            return stop.value


# --- the head ---


@pytest.mark.parametrize(
    ("sent", "octets", "ended", "mask"),
    [
        ({}, 0, False, READ),
        ({}, 9, False, READ),
        ({}, 10, False, 0),
        ({}, 0, True, 0),
        ({"done": False}, 0, False, READ),
        ({"done": False, "body_done": False}, 0, False, 0),
        ({"done": False, "body_done": False, "waits_for_client": True}, 10, False, READ),
        ({"body_done": False}, 0, False, READ),
    ],
)
@pytest.mark.parametrize("waits_for_upstream", [False, True])
def test_a_client_is_read_for_its_content_and_up_to_a_limit_afterwards(
    sent: dict[str, Any], octets: int, ended: bool, mask: int, waits_for_upstream: bool
) -> None:
    scenario = RelayScenario(waits_for_upstream=waits_for_upstream, **sent)
    scenario.client.inbox += b"x" * octets
    scenario.client.ended = ended
    task = scenario.head()
    assert step(task) == {5: mask, 7: READ | (WRITE if waits_for_upstream else 0)}
    if mask and not scenario.writer.waits_for_client:
        scenario.client.pieces = [b"next"]
        step(task, 5)
        assert bytes(scenario.client.inbox).endswith(b"next")
    task.close()


@pytest.mark.parametrize(
    ("sent", "reads", "deadlines"),
    [
        ({}, [0, 0], [900, 900]),
        ({"done": False}, [0, 0], [60, 60]),
        # While the client sends content, only real progress extends its time.
        ({"waits_for_client": True}, [0, 63, 64, 127, 128], [60, None, 60, None, 60]),
    ],
)
def test_the_deadline_of_a_response_depends_on_the_party_waited_for(
    sent: dict[str, Any], reads: list[int], deadlines: list[float | None]
) -> None:
    scenario = RelayScenario(**sent)
    task, woken, found = scenario.head(), None, []
    for scenario.writer.octets_read in reads:
        if scenario.downstream.deadline is not None:
            scenario.downstream.deadline = -1.0
        step(task, woken)
        woken = 5
        deadline = scenario.downstream.deadline
        found.append(None if deadline == -1.0 else deadline)
    assert found == deadlines
    scenario.downstream.deadline = None  # It was cleared by a wait for the desk.
    step(task, woken)
    assert scenario.downstream.deadline == deadlines[-1]
    task.close()


@pytest.mark.parametrize("needs_sign_in", [False, True])
@pytest.mark.parametrize("holds_content", [False, True])
def test_held_content_is_released_by_a_100_or_after_a_while(
    holds_content: bool, needs_sign_in: bool
) -> None:
    interim = b"HTTP/1.1 100 Continue\r\n\r\n"
    for woken, pieces in ((TIMED_OUT, []), (7, [interim, None])):
        scenario = RelayScenario(
            *pieces, holds_content=holds_content, needs_sign_in_first=needs_sign_in
        )
        task = scenario.head()
        assert task.send(None).timeout == (3.0 if holds_content else None)
        if (holds_content or woken == TIMED_OUT) and needs_sign_in:
            with pytest.raises(SignInFirstError):
                step(task, woken)
        else:
            step(task, woken)
            assert not scenario.writer.holds_content
            # The client has not asked for the 100.
            is_relayed = woken == 7 and not holds_content
            assert scenario.client.sent.startswith(b"HTTP/1.1 100 ") is is_relayed
        task.close()


@pytest.mark.parametrize(
    ("pieces", "changes", "is_unread"),
    [
        ([b""], {}, False),
        ([b""], {"last_data_was_unread": True}, True),
        ([b""], {"is_broken": True}, True),
        ([b"HTTP/1.1 2", b""], {"is_broken": True}, False),
        ([ConnectionResetError()], {}, True),
        ([b"HTTP/1.1 2", ConnectionResetError()], {}, False),
    ],
)
def test_a_connection_that_ends_before_the_response_may_not_have_read_the_request(
    pieces: list[Any], changes: dict[str, bool], is_unread: bool
) -> None:
    scenario = RelayScenario(*pieces, is_broken=changes.get("is_broken", False))
    scenario.stream.last_data_was_unread = changes.get("last_data_was_unread", False)
    task = scenario.head()
    step(task)
    for _ in pieces[1:]:
        step(task, 7)
    with pytest.raises(ResponseBrokenError) as broken:
        step(task, 7)
    assert broken.value.request_was_unread is is_unread


def test_interim_responses_are_limited_and_an_announced_close_holds() -> None:
    interim = b"HTTP/1.1 102 Processing\r\nConnection: close\r\n\r\n"
    scenario = RelayScenario(interim * MAX_INTERIM + OK)
    assert not result_of(scenario.head()).keep_alive
    scenario = RelayScenario(interim * (MAX_INTERIM + 1) + OK)
    task = scenario.head()
    step(task)
    with pytest.raises(MessageError):
        step(task, 7)


def test_malformed_content_of_the_client_is_not_the_fault_of_the_next_hop() -> None:
    def push() -> None:
        raise MessageError(413, "why")

    with pytest.raises(RequestBodyError) as error:
        step(RelayScenario(push=push).head())
    assert error.value.status == 413


@pytest.mark.parametrize("plain", [True, False])
def test_octets_decrypted_already_are_read_without_an_event(plain: bool) -> None:
    scenario = RelayScenario(OK)
    scenario.stream.plain = plain
    task = scenario.head()
    if plain:
        step(task)
    with pytest.raises(StopIteration):
        task.send(7 if plain else None)


# --- the content ---


@pytest.mark.parametrize(
    ("octets", "response", "changes", "keeps_client", "calls"),
    [
        (GET, OK + b"whole\n", {}, True, []),
        (GET, DATED + b"whole\n", {}, True, []),
        (GET, CHUNKED + b"6\r\nwhole\n\r\n0\r\n\r\n", {}, True, []),
        (OLD_GET, OK + b"whole\n", {}, False, ["lingered"]),
        (OLD_GET, CHUNKED + b"6\r\nwhole\n\r\n0\r\n\r\n", {}, False, ["lingered"]),
        # The next hop closes its connection, sends more, or still reads the request.
        (GET, OK.replace(b"OK\r\n", b"OK\r\nConnection: close\r\n") + b"whole\n", {}, True, None),
        (GET, OK + b"whole\nand more", {}, True, None),
        (GET, OK + b"whole\n", {"done": False}, True, None),
        (GET, OK + b"whole\n", {"body_done": False}, False, ["lingered"]),
        (GET, UNTIL_CLOSE + b"whole\n", {}, False, ["dropped", "lingered"]),
    ],
)
def test_connections_are_kept_after_a_complete_response_if_both_sides_can_go_on(
    octets: bytes,
    response: bytes,
    changes: dict[str, Any],
    keeps_client: bool,
    calls: list[object] | None,
) -> None:
    scenario = RelayScenario(response, octets=octets, **changes)
    assert result_of(scenario.whole()) is keeps_client
    others = [call for call in scenario.calls if call != "push"]
    assert others == (["dropped"] if calls is None else calls)
    head, _, content = scenario.client.sent.partition(b"\r\n\r\n")
    is_chunked = response.startswith(CHUNKED) and octets is GET
    assert content == (b"6\r\nwhole\n\r\n0\r\n\r\n" if is_chunked else b"whole\n")
    assert head.count(b"\r\nDate: ") == 1
    assert (b"\r\nConnection: close" in head) is not keeps_client
    assert scenario.context.counters.received == len(b"whole\n")
    is_repeatable = keeps_client and response.startswith((OK, DATED))
    cached = scenario.context.caches.responses.get(response.partition(b"whole")[0])
    assert (cached is not None) is is_repeatable
    if cached is not None:
        assert (cached.length, cached.confirms_login) == (6, True)
        assert cached.has_date is response.startswith(DATED)


@pytest.mark.parametrize("waits_for_client", [False, True])
@pytest.mark.parametrize("waits_for_upstream", [False, True])
def test_a_response_is_read_no_faster_than_the_client_reads_it(
    waits_for_client: bool, waits_for_upstream: bool
) -> None:
    """The content of the request may still be sent meanwhile."""
    scenario = RelayScenario(
        OK + b"who",
        b"le\n",
        done=False,
        waits_for_client=waits_for_client,
        waits_for_upstream=waits_for_upstream,
    )
    upload = WRITE if waits_for_upstream else 0
    task = scenario.whole()
    step(task)
    scenario.client.accepts = [10]
    client = WRITE | (READ if waits_for_client else 0)
    assert step(task, 7) == {5: client, 7: upload}
    assert (scenario.downstream.deadline, len(scenario.client.sent)) == (300, 10)
    scenario.stream.pieces.insert(0, None)
    assert step(task, 5) == {5: READ, 7: READ | upload}
    scenario.client.pieces = [b"next"]
    scenario.stream.pieces.insert(0, None)
    assert step(task, 5) == {5: READ, 7: READ | upload}
    # Content of the request is read by the writer, further requests by the relay.
    assert bytes(scenario.client.inbox) == (b"" if waits_for_client else b"next")
    with pytest.raises(StopIteration):
        task.send(7)
    assert scenario.calls.count("push") > 3


@pytest.mark.parametrize(
    ("pieces", "truncated"),
    [
        ([OK + b"who", b""], False),
        ([OK + b"who", ConnectionResetError()], False),
        ([UNTIL_CLOSE + b"who", b""], True),
        ([CHUNKED + b"3\r\nwho\r\n", b"nonsense"], False),
    ],
)
def test_the_client_can_detect_an_incomplete_response(pieces: list[Any], truncated: bool) -> None:
    first, second = pieces
    scenario = RelayScenario(first, None, second)
    scenario.stream.truncated = truncated
    assert result_of(scenario.whole()) is False
    assert (scenario.calls[-1], scenario.client.is_reset) == ("dropped", True)


@pytest.mark.parametrize("second", [b"", ConnectionResetError(), b"nonsense"])
def test_a_response_that_breaks_before_its_content_gets_an_error_page(second: Any) -> None:
    scenario = RelayScenario(CHUNKED, second)
    task = scenario.whole()
    step(task)
    with pytest.raises(RequestRefusedError):
        task.send(7)
    assert (scenario.calls[-1], scenario.client.sent) == ("dropped", b"")


def test_other_connections_get_their_turn_during_a_fast_response() -> None:
    pieces = [b"x"] * 3 * PARTS_PER_TURN
    head = OK.replace(b"6", b"%d" % (len(pieces) + 1))
    scenario = RelayScenario(head + b"x", *pieces)
    task = scenario.whole()
    step(task)
    for _ in range(3):
        step(task, 7)
    with pytest.raises(StopIteration):
        step(task, 7)
