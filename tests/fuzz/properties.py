"""What must hold for any octets at all, whoever sends them: one function a property.

Each takes octets and returns None, or raises `AssertionError`. Anything but the refusals that our
readers document is a fault, too, and simply comes out.
"""

import random
import re
from collections.abc import Callable
from contextlib import suppress
from secrets import token_bytes

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
from trayproxy.http.target import Form

VIA = b"tray-5f0c"
CREDENTIALS = b"Basic dXNlcjpwYXNz"
LOGIN = Login("user", "pass")
METHODS = (b"GET", b"HEAD", b"CONNECT", b"POST")
MOST_CHALLENGES = 32
MOST_OF_A_TURN = 257
"""Octets that SOCKS has us read at once: a name and a port behind it."""

Property = Callable[[bytes], None]


# --- requests ------------------------------------------------------------------------------------


def request_is_read_the_same_however_it_comes(octets: bytes) -> None:
    """A head that comes in pieces means what it means as a whole."""
    whole = _request(octets, find_head(octets)) if _is_complete(octets) else None
    pieces = _found_piecewise(octets, find_head)
    in_pieces = _request(octets, pieces) if pieces is not None else None
    assert in_pieces == whole


def request_that_goes_on_is_clean(octets: bytes) -> None:
    """What goes upstream is one request, in the form that our reader takes as it is."""
    end = find_head(octets) if _is_complete(octets) else None
    request = _request(octets, end)
    if request is None or request.has_max_forwards_zero:
        return
    if request.target.form in (Form.ORIGIN, Form.ASTERISK):
        return  # Answered by us.
    written = write_request(request, via=VIA, credentials=CREDENTIALS)
    _must_be_clean(written)
    again = parse_request(written)
    assert find_head(written) == len(written)
    assert (again.method, again.framing) == (request.method, request.framing)
    assert again.target.authority == request.target.authority
    login = again.fields.get_all(b"proxy-authorization")
    assert login == (() if request.method == b"TRACE" else (CREDENTIALS,))
    assert len(again.fields.get_all(b"host")) == 1
    if request.method == b"CONNECT" or not request.can_be_sent_directly:
        return  # A direct way answers a URL of another scheme with a page.
    direct = write_request(request, via=VIA, credentials=None, direct=True)
    _must_be_clean(direct)
    assert b"proxy-authorization" not in parse_request(direct).fields


def request_that_we_take_is_what_others_take_it_for(octets: bytes) -> None:
    """A request that we take is taken by h11 or llhttp, and as what they take it for if they agree.

    That we refuse more than they do is our business, and the tests of `http` say why.
    """
    octets = _LEADING.sub(b"", octets)
    ours = _whole_request(octets)
    if ours is None:
        return
    octets = _usual_request(octets, ours.start[0])
    ours = _whole_request(octets)
    assert ours is not None
    _compare(ours, octets, h11_request, llhttp_request)


def request_rewritten_is_taken_by_others(octets: bytes) -> None:
    """A whole request that goes on, with its content, is one that h11 understands the same way."""
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


def response_is_read_the_same_however_it_comes(octets: bytes) -> None:
    """A head that comes in pieces means what it means as a whole."""
    method = METHODS[len(octets) % len(METHODS)]
    whole = _response(octets, find_response_head(octets), method) if _ends(octets) else None
    pieces = _found_piecewise(octets, find_response_head)
    in_pieces = _response(octets, pieces, method) if pieces is not None else None
    assert in_pieces == whole


def response_that_goes_on_is_clean(octets: bytes) -> None:
    """What goes to the client is one response, and says nothing of the upstream's sign-in."""
    for method in METHODS:
        response = _response(octets, find_response_head(octets), method) if _ends(octets) else None
        if response is None:
            return
        for minor in (0, 1):
            if response.is_interim:
                written = write_interim(response, via=VIA, client_minor=minor)
                if not written:
                    continue
            else:
                written = write_response(response, via=VIA, client_minor=minor, close=not minor)
            _must_be_clean(written)
            assert find_response_head(written) == len(written)
            again = parse_response(written, method)
            assert again.status == response.status
            assert b"proxy-authenticate" not in again.fields
            assert not (b"transfer-encoding" in again.fields and minor == 0)
            if minor:
                assert again.framing == response.framing


def response_that_we_take_is_what_others_take_it_for(octets: bytes) -> None:
    """As for requests. A proxy drops the space before a colon (RFC 9112, 5.1), they need not."""
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
    # We take it by leniency. Then its connection ends, and the client gets what all understand.
    written, is_sure = _rewritten_response(octets)
    assert not is_sure
    for read in readers:
        reading = read(written)
        assert (reading.start, reading.body) == (ours.start, ours.body)


# --- content -------------------------------------------------------------------------------------


def chunks_are_read_the_same_however_they_come(octets: bytes) -> None:
    """Chunked content that comes in pieces is what it is as a whole, and ends where it ends."""
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


def chunks_that_we_take_others_take_for_the_same(octets: bytes) -> None:
    """Nothing is hidden from us in chunks that another reader sees there."""
    whole = _chunks(octets, [len(octets)])
    if whole is None or not whole[2] or whole[1] != len(octets):
        return
    head = b"POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    for read in (h11_request, llhttp_request):
        with suppress(RefusedError):
            assert read(head + octets).body == whole[0]


# --- challenges and SOCKS ------------------------------------------------------------------------


def challenges_are_never_too_much(octets: bytes) -> None:
    """Any lines give some challenges; a line cannot hide the next one, and answers are clean."""
    # Lines with other octets are refused before anybody looks for challenges (RFC 9110, 5.5).
    lines = [line for line in octets.split(b"\n") if is_field_value(line)]
    challenges = parse_challenges(lines)
    assert len(challenges) <= MOST_CHALLENGES
    for challenge in challenges:
        assert challenge.scheme == challenge.scheme.lower() != ""
        assert isinstance(challenge.realm, str)
    offer = choose(challenges, [Digest(token_bytes), Basic()])
    if offer is not None:
        authenticator = offer.scheme.authenticator(offer.challenge, LOGIN, "proxy.test")
        leg = authenticator.begin(RequestToAuthenticate(b"GET", b"http://a/", None)).step(())
        # Without content nothing can be said where it is to be signed, too.
        assert not isinstance(leg, Leg) or is_field_value(leg.credentials)
    if len(challenges) < MOST_CHALLENGES:
        last = parse_challenges([*lines, b'Basic realm="office"'])[-1]
        assert last == Challenge("basic", (("realm", "office"),))


def realms_offer_nothing(octets: bytes) -> None:
    """A realm that is quoted as it should be is one realm, whatever is in it."""
    realm = octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    challenges = parse_challenges([b'Digest realm="' + realm + b'", nonce="1"'])
    text = octets.decode("iso-8859-1")
    assert challenges == (Challenge("digest", (("realm", text), ("nonce", "1"))),)


def socks_servers_are_understood_or_refused(octets: bytes) -> None:
    """Any reply of a SOCKS server ends a conversation in one of the ways that are expected."""
    with suppress(
        SocksAuthRequiredError,
        SocksAuthRejectedError,
        NoAcceptableMethodError,
        NotSocksError,
        EOFError,
    ):
        rest = _converse(negotiate(b"\x01\x04user\x04pass", may_sign_in=True), octets)
        with suppress(ConnectFailedError):
            _converse(connect_to("origin.test", 443), rest)


PROPERTIES: dict[str, Property] = {
    one.__name__.replace("_", "-"): one
    for one in (
        request_is_read_the_same_however_it_comes,
        request_that_goes_on_is_clean,
        request_that_we_take_is_what_others_take_it_for,
        request_rewritten_is_taken_by_others,
        response_is_read_the_same_however_it_comes,
        response_that_goes_on_is_clean,
        response_that_we_take_is_what_others_take_it_for,
        chunks_are_read_the_same_however_they_come,
        chunks_that_we_take_others_take_for_the_same,
        challenges_are_never_too_much,
        realms_offer_nothing,
        socks_servers_are_understood_or_refused,
    )
}
"""By the name that a person types."""


# --- reading -------------------------------------------------------------------------------------


def _is_complete(octets: bytes) -> bool:
    try:
        return find_head(octets) is not None
    except MessageError:
        return False


def _ends(octets: bytes) -> bool:
    try:
        return find_response_head(octets) is not None
    except MessageError:
        return False


def _request(octets: bytes, end: int | None) -> Request | None:
    if end is None:
        return None
    try:
        return parse_request(octets[:end])
    except MessageError as error:
        _check_status(error, range(400, 600))
        return None


def _response(octets: bytes, end: int | None, method: bytes) -> Response | None:
    if end is None:
        return None
    try:
        return parse_response(octets[:end], method)
    except MessageError as error:
        _check_status(error, range(502, 503))
        return None


def _check_status(error: MessageError, statuses: range) -> None:
    assert error.status in statuses


Finder = Callable[..., int | None]


def _found_piecewise(octets: bytes, find: Finder) -> int | None:
    """Return where the head ends, if it comes in pieces; None if it is refused, or not whole."""
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
    """Read what is one whole request and nothing else."""
    end = find_head(octets) if _is_complete(octets) else None
    request = _request(octets, end)
    if request is None or end is None:
        return None
    content = _content(request_body_reader(request.framing), octets[end:])
    if content is None:
        return None
    fields = tuple((name.lower(), value) for name, value in request.fields)
    return Reading((request.method, request.target.raw), fields, content)


def _whole_response(octets: bytes) -> Reading | None:
    """Read what is one whole response to a GET and nothing else."""
    end = find_response_head(octets) if _ends(octets) else None
    response = _response(octets, end, b"GET")
    if response is None or end is None:
        return None
    if response.status < 200 or response.status in (204, 304):
        return None  # Of these we do not read the framing that they cannot have.
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
    """Return what the client gets of a whole response to a GET, and whether its connection may be
    used again."""
    end = find_response_head(octets)
    response = parse_response(octets[:end], b"GET")
    body = response_body_reader(response.framing)
    content = b"".join(body.feed(octets[end:])[0])
    if isinstance(body, ChunkedBody):
        content = write_chunk(content) + write_last_chunk(Fields())
    written = write_response(response, via=VIA, client_minor=1, close=False)
    return written + content, response.keep_alive and body.is_unambiguous


def _content(body: Body, octets: bytes) -> bytes | None:
    """Return all content, None if it is not whole or something follows.

    Nor with trailers: other readers take them for fields, so that they stumble over what we drop.
    """
    try:
        pieces, used = body.feed(octets)
        body.eof()
    except MessageError:
        return None
    is_all = used == len(octets) and not body.trailers
    return b"".join(pieces) if is_all else None


_LEADING = re.compile(rb"\A(?:\r\n)+")
"""What h11 refuses, and we do not (RFC 9112, section 2.2)."""
_USUAL = (b"GET", b"HEAD", b"POST", b"OPTIONS", b"TRACE", b"CONNECT")


def _usual_request(octets: bytes, method: bytes) -> bytes:
    """Return a request with a method and a version that llhttp knows: it refuses all others."""
    line, end, rest = octets.partition(b"\r\n")
    if method not in _USUAL:
        line = b"POST" + line.removeprefix(method)
    return re.sub(rb"1\.[2-9]$", b"1.1", line) + end + rest


def _compare(ours: Reading, octets: bytes, *readers: Callable[[bytes], Reading]) -> None:
    """Check that another reader takes this, and that we agree if all do and agree."""
    theirs = []
    for read in readers:
        with suppress(RefusedError, h11.LocalProtocolError):
            theirs.append(read(octets))
    assert theirs, "nobody else takes it"
    if len(theirs) == len(readers) and all(one == theirs[0] for one in theirs):
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


def _converse(conversation: SocksDialogue[object], octets: bytes) -> bytes:
    """Play a server that sends these octets; return those that were not read.

    Raises:
        EOFError: There are too few.
    """
    try:
        turn = next(conversation)
        while True:
            assert 0 <= turn.read <= MOST_OF_A_TURN
            if len(octets) < turn.read:
                raise EOFError
            reply, octets = octets[: turn.read], octets[turn.read :]
            turn = conversation.send(reply)
    except StopIteration:
        return octets


def _must_be_clean(head: bytes) -> None:
    """Check that a head has nothing but lines of visible text, and one end."""
    lines = head.split(b"\r\n")
    assert lines[-2:] == [b"", b""]
    assert lines.index(b"") == len(lines) - 2
    for line in lines:
        assert not any((octet < 0x20 and octet != 0x09) or octet == 0x7F for octet in line)
    for line in lines[1:-2]:
        assert line[:1] not in (b" ", b"\t", b":")
