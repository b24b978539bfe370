"""The properties of the readers and writers of `trayproxy` for arbitrary octets.

Each property is a function. It takes octets and returns None, or raises `AssertionError`. Any
exception other than the documented errors of the readers is a fault, too, and is not caught.
"""

import random
import re
from collections.abc import Callable
from contextlib import suppress
from secrets import token_bytes
from typing import TypeVar

import h11

from tests.http.readers import (
    Reading,
    RefusedError,
    h11_request,
    h11_response,
    llhttp_request,
    llhttp_response,
)
from trayproxy.auth.basic import Basic
from trayproxy.auth.digest import Digest
from trayproxy.auth.login import Login
from trayproxy.auth.scheme import Leg, RequestToAuthenticate, choose
from trayproxy.engine.forward.client_password import ClientPassword
from trayproxy.engine.net.socks5 import (
    ConnectFailedError,
    NoAcceptableMethodError,
    NotSocksError,
    SocksAuthRejectedError,
    SocksAuthRequiredError,
    SocksDialogue,
    connect_to,
    negotiate,
)
from trayproxy.engine.net.socks5_server import SocksRefusedError, read_target
from trayproxy.http.body import (
    Body,
    ChunkedBody,
    request_body_reader,
    response_body_reader,
    write_chunk,
    write_last_chunk,
)
from trayproxy.http.challenges import Challenge, parse_challenges
from trayproxy.http.errors import MessageError
from trayproxy.http.fields import Fields, is_field_value
from trayproxy.http.heads import find_head, find_response_head
from trayproxy.http.request import Request, parse_request, write_request
from trayproxy.http.response import Response, parse_response, write_interim, write_response
from trayproxy.http.target import Form, raw_authority

VIA = b"tray-5f0c"
CREDENTIALS = b"Basic dXNlcjpwYXNz"
LOGIN = Login("user", "pass")
METHODS = (b"GET", b"HEAD", b"CONNECT", b"POST")
MAX_CHALLENGES = 32
MAX_READ = 257
"""Maximum number of octets of a single read in the SOCKS dialogue: a host name and a port."""

T = TypeVar("T")
Property = Callable[[bytes], None]


# --- requests ------------------------------------------------------------------------------------


def request_is_read_the_same_in_pieces(octets: bytes) -> None:
    """A head received in pieces is parsed like the head received at once."""
    in_pieces = _request(octets, _found_piecewise(octets, find_head))
    assert in_pieces == _request(octets, _end(octets, find_head))


def forwarded_request_is_valid(octets: bytes) -> None:
    """A forwarded request is a single valid request with the same meaning."""
    request = _request(octets, _end(octets, find_head))
    if request is None or request.has_max_forwards_zero:
        return
    if request.target.form in (Form.ORIGIN, Form.ASTERISK):
        return  # TrayProxy answers this request itself.
    written = write_request(request, via=VIA, credentials=CREDENTIALS)
    _check_head(written)
    again = parse_request(written)
    assert find_head(written) == len(written)
    assert (again.method, again.framing) == (request.method, request.framing)
    assert again.target.authority == request.target.authority
    login = again.fields.get_all(b"proxy-authorization")
    assert login == (() if request.method == b"TRACE" else (CREDENTIALS,))
    assert len(again.fields.get_all(b"host")) == 1
    if request.method == b"CONNECT" or not request.can_be_sent_directly:
        return  # On a direct route, a URL of another scheme is answered with an error page.
    direct = write_request(request, via=VIA, credentials=None, direct=True)
    _check_head(direct)
    assert b"proxy-authorization" not in parse_request(direct).fields


def accepted_request_is_read_as_by_others(octets: bytes) -> None:
    """h11 or llhttp accepts an accepted request, and reads it in the same way if both accept it.

    TrayProxy refuses more requests than h11 and llhttp; the tests in ``tests/http`` give the
    reasons.
    """
    octets = _LEADING.sub(b"", octets)
    ours = _whole_request(octets)
    if ours is None:
        return
    octets = _usual_request(octets, ours.start[0])
    ours = _whole_request(octets)
    assert ours is not None
    _compare(ours, octets, h11_request, llhttp_request)


def forwarded_request_is_read_as_by_h11(octets: bytes) -> None:
    """h11 reads a forwarded request, with its content, in the same way."""
    ours = _whole_request(octets)
    request = _request(octets, find_head(octets)) if ours is not None else None
    if ours is None or request is None or request.has_max_forwards_zero:
        return
    if request.target.form is not Form.ABSOLUTE:
        return
    body = request_body_reader(request.framing)
    head = write_request(request, via=VIA, credentials=CREDENTIALS)
    content = ours.body
    if isinstance(body, ChunkedBody):
        content = write_chunk(content) + write_last_chunk(Fields())
    assert h11_request(head + content).body == ours.body


# --- responses -----------------------------------------------------------------------------------


def response_is_read_the_same_in_pieces(octets: bytes) -> None:
    """A head received in pieces is parsed like the head received at once."""
    method = METHODS[len(octets) % len(METHODS)]
    in_pieces = _response(octets, _found_piecewise(octets, find_response_head), method)
    assert in_pieces == _response(octets, _end(octets, find_response_head), method)


def relayed_response_is_valid(octets: bytes) -> None:
    """A relayed response is a single valid response without the upstream's challenges."""
    for method in METHODS:
        response = _response(octets, _end(octets, find_response_head), method)
        if response is None:
            return
        for minor in (0, 1):
            if response.is_interim:
                written = write_interim(response, via=VIA, client_minor=minor)
                if not written:
                    continue
            else:
                written = write_response(response, via=VIA, client_minor=minor, close=not minor)
            _check_head(written)
            assert find_response_head(written) == len(written)
            again = parse_response(written, method)
            assert again.status == response.status
            assert b"proxy-authenticate" not in again.fields
            assert not (b"transfer-encoding" in again.fields and minor == 0)
            if minor:
                assert again.framing == response.framing


def accepted_response_is_read_as_by_others(octets: bytes) -> None:
    """h11 or llhttp accepts an accepted response, and reads it in the same way if both accept it.

    Responses with a space before a colon are excluded: a proxy has to remove the space (RFC 9112,
    section 5.1), other readers may refuse it.
    """
    head = octets.partition(b"\r\n\r\n")[0]
    if b" :" in head or b"\t:" in head:
        return
    ours = _whole_response(octets)
    if ours is None:
        return
    readers = (h11_response, llhttp_response)
    if any(_is_taken_by(read, octets) for read in readers):
        _compare(ours, octets, *readers)
        return
    # Only the lenient reader accepts this response. Its connection is then closed, and h11 and
    # llhttp accept the relayed response.
    written, is_sure = _rewritten_response(octets)
    assert not is_sure
    for read in readers:
        reading = read(written)
        assert (reading.start, reading.body) == (ours.start, ours.body)


# --- content -------------------------------------------------------------------------------------


def chunks_are_read_the_same_in_pieces(octets: bytes) -> None:
    """Chunked content received in pieces is parsed like chunked content received at once."""
    draw = random.Random(octets)
    whole = _chunks(octets, [len(octets)])
    cuts = [draw.randint(1, 7) for _ in range(len(octets))]
    assert _chunks(octets, cuts) == whole
    if whole is None or not whole[2]:
        return
    content, used, _, trailers = whole
    assert used <= len(octets)
    again = _chunks(write_chunk(content) + write_last_chunk(Fields(trailers)), [1 << 20])
    assert again is not None
    assert again[0] == content
    assert again[2]


def accepted_chunks_are_read_as_by_others(octets: bytes) -> None:
    """h11 and llhttp refuse accepted chunked content, or read the same content from it."""
    whole = _chunks(octets, [len(octets)])
    if whole is None or not whole[2] or whole[1] != len(octets):
        return
    head = b"POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    for read in (h11_request, llhttp_request):
        with suppress(RefusedError):
            assert read(head + octets).body == whole[0]


# --- challenges and SOCKS ------------------------------------------------------------------------


def challenges_are_bounded_and_separate(octets: bytes) -> None:
    """The number of challenges is bounded, and a field line cannot hide the next field line.

    The credentials for a challenge are a valid field value.
    """
    # Field lines with other octets are refused before challenges are parsed (RFC 9110, 5.5).
    lines = [line for line in octets.split(b"\n") if is_field_value(line)]
    challenges = parse_challenges(lines)
    assert len(challenges) <= MAX_CHALLENGES
    for challenge in challenges:
        assert challenge.scheme == challenge.scheme.lower() != ""
        assert isinstance(challenge.realm, str)
    offer = choose(challenges, [Digest(token_bytes), Basic()])
    if offer is not None:
        authenticator = offer.scheme.authenticator(offer.challenge, LOGIN, "proxy.test")
        leg = authenticator.begin(RequestToAuthenticate(b"GET", b"http://a/", None)).step(())
        # With qop=auth-int, there are no credentials without the content.
        assert not isinstance(leg, Leg) or is_field_value(leg.credentials)
    if len(challenges) < MAX_CHALLENGES:
        last = parse_challenges([*lines, b'Basic realm="office"'])[-1]
        assert last == Challenge("basic", (("realm", "office"),))


def quoted_realm_is_one_realm(octets: bytes) -> None:
    """A correctly quoted realm is parsed as a single realm, for any octets in the realm."""
    realm = octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    challenges = parse_challenges([b'Digest realm="' + realm + b'", nonce="1"'])
    text = octets.decode("iso-8859-1")
    assert challenges == (Challenge("digest", (("realm", text), ("nonce", "1"))),)


def socks_reply_is_accepted_or_refused(octets: bytes) -> None:
    """The SOCKS dialogue ends for any reply of the server: with a result or a documented error."""
    with suppress(
        SocksAuthRequiredError,
        SocksAuthRejectedError,
        NoAcceptableMethodError,
        NotSocksError,
        EOFError,
    ):
        rest = _play_server(negotiate(b"\x01\x04user\x04pass", may_sign_in=True), octets)
        with suppress(ConnectFailedError):
            _play_server(connect_to("origin.test", 443), rest)


def socks_client_gets_a_tunnel_or_a_refusal(octets: bytes) -> None:
    """The dialogue with a SOCKS client ends with a target that CONNECT can name, or a refusal."""
    for verify in (None, ClientPassword("pass")):
        with suppress(EOFError, SocksRefusedError):
            target, _ = _play(read_target(verify), octets)
            authority = raw_authority(target)
            head = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (authority, authority)
            assert parse_request(head).target.authority == target


PROPERTIES: dict[str, Property] = {
    function.__name__.replace("_", "-"): function
    for function in (
        request_is_read_the_same_in_pieces,
        forwarded_request_is_valid,
        accepted_request_is_read_as_by_others,
        forwarded_request_is_read_as_by_h11,
        response_is_read_the_same_in_pieces,
        relayed_response_is_valid,
        accepted_response_is_read_as_by_others,
        chunks_are_read_the_same_in_pieces,
        accepted_chunks_are_read_as_by_others,
        challenges_are_bounded_and_separate,
        quoted_realm_is_one_realm,
        socks_reply_is_accepted_or_refused,
        socks_client_gets_a_tunnel_or_a_refusal,
    )
}
"""The properties by their names on the command line."""


# --- reading -------------------------------------------------------------------------------------


Finder = Callable[..., int | None]


def _end(octets: bytes, find: Finder) -> int | None:
    """Return the end of a head; None if the head is refused or incomplete."""
    try:
        return find(octets)
    except MessageError:
        return None


def _request(octets: bytes, end: int | None) -> Request | None:
    """Parse a request head; return None if it is refused or has no end."""
    try:
        return None if end is None else parse_request(octets[:end])
    except MessageError as error:
        _check_status(error, range(400, 600))
        return None


def _response(octets: bytes, end: int | None, method: bytes) -> Response | None:
    """Parse a response head; return None if it is refused or has no end."""
    try:
        return None if end is None else parse_response(octets[:end], method)
    except MessageError as error:
        _check_status(error, range(502, 503))
        return None


def _check_status(error: MessageError, statuses: range) -> None:
    assert error.status in statuses


def _found_piecewise(octets: bytes, find: Finder) -> int | None:
    """Return the end of a head received in pieces; None if it is refused or incomplete."""
    draw = random.Random(octets)
    buffer = bytearray()
    while len(buffer) < len(octets):
        seen = len(buffer)
        buffer += octets[seen : seen + draw.choice((1, 1, 2, 5, 50))]
        try:
            if end := find(buffer, seen=seen):
                return end
        except MessageError:
            return None
    return None


def _whole_request(octets: bytes) -> Reading | None:
    """Parse a complete request; return None if it is refused, incomplete or followed by octets."""
    end = _end(octets, find_head)
    request = _request(octets, end)
    if request is None or end is None:
        return None
    content = _content(request_body_reader(request.framing), octets[end:])
    if content is None:
        return None
    fields = tuple((name.lower(), value) for name, value in request.fields)
    return Reading((request.method, request.target.raw), fields, content)


def _whole_response(octets: bytes) -> Reading | None:
    """Parse a complete response to a GET; return None if it is refused, incomplete or followed by
    octets."""
    end = _end(octets, find_response_head)
    response = _response(octets, end, b"GET")
    if response is None or end is None:
        return None
    if response.status < 200 or response.status in (204, 304):
        return None  # These responses have no content; their framing fields are not parsed.
    content = _content(response_body_reader(response.framing), octets[end:])
    if content is None:
        return None
    fields = tuple((name.lower(), value) for name, value in response.fields)
    return Reading((b"%d" % response.status, response.reason), fields, content)


def _is_taken_by(read: Callable[[bytes], Reading], octets: bytes) -> bool:
    with suppress(RefusedError, h11.LocalProtocolError):
        read(octets)
        return True
    return False


def _rewritten_response(octets: bytes) -> tuple[bytes, bool]:
    """Return the relayed form of a complete response to a GET, and whether its connection may be
    reused."""
    end = find_response_head(octets)
    response = parse_response(octets[:end], b"GET")
    body = response_body_reader(response.framing)
    content = b"".join(body.feed(octets[end:])[0])
    if isinstance(body, ChunkedBody):
        content = write_chunk(content) + write_last_chunk(Fields())
    written = write_response(response, via=VIA, client_minor=1, close=False)
    return written + content, response.keep_alive and body.is_unambiguous


def _content(body: Body, octets: bytes) -> bytes | None:
    """Return the content; None if it is incomplete, followed by octets or has trailers.

    Other readers parse trailers as fields, and may refuse trailers that TrayProxy drops.
    """
    try:
        pieces, used = body.feed(octets)
        body.eof()
    except MessageError:
        return None
    is_all = used == len(octets) and not body.trailers
    return b"".join(pieces) if is_all else None


_LEADING = re.compile(rb"\A(?:\r\n)+")
"""Empty lines before a request: h11 refuses them, TrayProxy ignores them (RFC 9112, 2.2)."""
_USUAL = (b"GET", b"HEAD", b"POST", b"OPTIONS", b"TRACE", b"CONNECT")


def _usual_request(octets: bytes, method: bytes) -> bytes:
    """Return the request with a method and a version which llhttp accepts."""
    line, end, rest = octets.partition(b"\r\n")
    if method not in _USUAL:
        line = b"POST" + line.removeprefix(method)
    return re.sub(rb"1\.[2-9]$", b"1.1", line) + end + rest


def _compare(ours: Reading, octets: bytes, *readers: Callable[[bytes], Reading]) -> None:
    """Check that another reader accepts the message, and that the results are equal if all other
    readers accept the message and agree."""
    theirs = []
    for read in readers:
        with suppress(RefusedError, h11.LocalProtocolError):
            theirs.append(read(octets))
    assert theirs, "no other reader accepts it"
    if len(theirs) == len(readers) and all(reading == theirs[0] for reading in theirs):
        assert ours == theirs[0]


Chunks = tuple[bytes, int, bool, tuple[tuple[bytes, bytes], ...]]


def _chunks(octets: bytes, cuts: list[int]) -> Chunks | None:
    """Read chunked content in pieces of these lengths; None if it is refused."""
    body, content, used, at = ChunkedBody(), b"", 0, 0
    for cut in cuts:
        piece = octets[at : at + cut]
        at += cut
        if body.done or not piece:
            break
        try:
            pieces, taken = body.feed(piece)
        except MessageError:
            return None
        content += b"".join(pieces)
        used += taken
        assert body.done or taken == len(piece)
    return content, used, body.done, body.trailers.lines


def _play_server(dialogue: SocksDialogue[object], octets: bytes) -> bytes:
    """Play a server that sends these octets; return the unread octets. See `_play`."""
    return _play(dialogue, octets)[1]


def _play(dialogue: SocksDialogue[T], octets: bytes) -> tuple[T, bytes]:
    """Play the other side, which sends these octets; return the result and the unread octets.

    Raises:
        EOFError: The dialogue needs more octets.
    """
    try:
        turn = next(dialogue)
        while True:
            assert 0 <= turn.read <= MAX_READ
            if len(octets) < turn.read:
                raise EOFError
            reply, octets = octets[: turn.read], octets[turn.read :]
            turn = dialogue.send(reply)
    except StopIteration as stop:
        return stop.value, octets


def _check_head(head: bytes) -> None:
    """Check that a head has only lines of visible text, and a single end."""
    lines = head.split(b"\r\n")
    assert lines[-2:] == [b"", b""]
    assert lines.index(b"") == len(lines) - 2
    for line in lines:
        assert not any((octet < 0x20 and octet != 0x09) or octet == 0x7F for octet in line)
    for line in lines[1:-2]:
        assert line[:1] not in (b" ", b"\t", b":")
