"""The lines of the HTTP checklist that concern several modules, and a check of completeness.

The name of a test ends with the numbers of the checklist lines it verifies. R-080 and above, about
authentication, have their tests in tests/auth, tests/desk and tests/engine.
"""

import re
from pathlib import Path

import pytest

from tests.http.refusals import refusal_status
from trayproxy.http.heads import find_head, find_response_head
from trayproxy.http.request import Request, parse_request, write_request
from trayproxy.http.response import Response, parse_response, write_response

VIA = b"tray-5f0c"
TESTS = Path(__file__).parents[1]
LINES = (
    *(*range(1, 17), *range(20, 38), *range(40, 50), *range(50, 59), *range(60, 65)),
    *(*range(70, 76), *range(80, 87), *range(90, 93), *range(100, 111), *range(120, 128)),
)
"""The numbers of the checklist."""


def test_each_line_of_the_checklist_has_a_test_with_its_number() -> None:
    name = re.compile(r"^def test_\w*?((?:_r_\d{3})+)\(", re.MULTILINE)
    texts = (path.read_text("utf-8") for path in TESTS.rglob("test_*.py"))
    tested = {
        int(line)
        for text in texts
        for found in name.findall(text)
        for line in found.split("_r_")[1:]
    }
    assert set(LINES) - tested == set()


# --- octets, 9112 section 2.2 --------------------------------------------------------------------


@pytest.mark.parametrize(
    "octets",
    [
        b"\x85",  # NEL, a line end for Python in ISO-8859-1.
        "\u2028".encode(),  # A line end in Unicode.
        "\u010a".encode(),  # Its low octet is LF.
        b"\xc4",  # An incomplete UTF-8 sequence.
        b"\xff\xfe",
    ],
)
def test_octets_are_split_before_decoding_r_001(octets: bytes) -> None:
    line = b"X: a" + octets + b"Content-Length: 5"
    request = parse_request(b"GET http://a/ HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n\r\n")
    assert request.fields.lines == ((b"Host", b"a"), (b"X", line[3:]))
    response = parse_response(b"HTTP/1.1 204 x\r\n" + line + b"\r\n\r\n", b"GET")
    assert response.fields.lines == ((b"X", line[3:]),)


PLACES = {
    "behind the method": b"GET%b http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "in the target": b"GET http://a/%bb HTTP/1.1\r\nHost: a\r\n\r\n",
    "behind the version": b"GET http://a/ HTTP/1.1%b\r\nHost: a\r\n\r\n",
    "in a name": b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX%bY: z\r\n\r\n",
    "in a value": b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX: y%bz\r\n\r\n",
    "at the end of a value": b"GET http://a/ HTTP/1.1\r\nHost: a\r\nX: y%b\r\n\r\n",
    "instead of a line": b"GET http://a/ HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n",
}


def read_request(octets: bytes) -> Request:
    end = find_head(octets)
    assert end is not None
    return parse_request(octets[:end])


def read_response(octets: bytes) -> Response:
    end = find_response_head(octets)
    assert end is not None
    return parse_response(octets[:end], b"GET")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("line_end", [b"\r", b"\n"])
def test_a_bare_cr_or_lf_is_refused_everywhere_r_002_r_003(place: str, line_end: bytes) -> None:
    assert refusal_status(read_request, PLACES[place] % line_end) == 400


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 O\rK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX\rY: z\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: y\rz\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: y\r\r\n\r\n",
        b"HTTP/1.1 200 O\nK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX\nY: z\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: y\nz\r\n\r\n",
    ],
)
def test_a_response_with_a_bare_cr_or_a_misplaced_bare_lf_is_a_502_r_002_r_003(head: bytes) -> None:
    assert refusal_status(read_response, head) == 502


@pytest.mark.parametrize("space", [b" ", b"\t", b"  \t", b"\x0b", b"\x0c"])
def test_whitespace_between_the_first_line_and_the_fields_is_refused_r_005(space: bytes) -> None:
    for rest in (b"Host: a\r\n\r\n", b"\r\nHost: a\r\n\r\n"):
        octets = b"GET http://a/ HTTP/1.1\r\n" + space + rest
        assert refusal_status(read_request, octets) == 400
    octets = b"HTTP/1.1 200 OK\r\n" + space + b"X: y\r\n\r\n"
    assert refusal_status(parse_response, octets, b"GET") == 502


# --- names and ports -----------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["intranet", "a.", "a.b.test.", "xn--bcher-kva.test", "a_b.test"])
def test_a_host_name_is_neither_completed_nor_shortened_r_026(host: str) -> None:
    head = f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
    written = write_request(parse_request(head), via=VIA, credentials=None)
    assert written.startswith(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n".encode())
    tunnel = f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n\r\n".encode()
    written = write_request(parse_request(tunnel), via=VIA, credentials=None)
    assert written.startswith(f"CONNECT {host}:443 HTTP/1.1\r\nHost: {host}:443\r\n".encode())


@pytest.mark.parametrize("port", [1, 22, 25, 443, 8443, 65_535])
def test_any_port_may_be_reached_r_031(port: int) -> None:
    """The list of RFC 9110, section 9.3.6 is for open proxies.

    Users of this proxy can connect to any port without it, and the company's proxy has its own
    list.
    """
    octets = f"CONNECT a:{port} HTTP/1.1\r\nHost: a:{port}\r\n\r\n".encode()
    assert write_request(parse_request(octets), via=VIA, credentials=None).startswith(octets[:-2])


# --- fields between TrayProxy and the upstream ----------------------------------------------------


@pytest.mark.parametrize("status", [200, 206, 404, 502])
def test_authentication_fields_of_the_upstream_are_not_forwarded_r_057(status: int) -> None:
    lines = (
        b'PROXY-AUTHENTICATE: Digest realm="x", nonce="y"',
        b"Proxy-Authentication-Info: nextnonce=z",
        b"Proxy-Authenticate: Basic realm=x",
        b"Content-Length: 5",
    )
    head = b"\r\n".join((b"HTTP/1.1 %d x" % status, *lines, b"", b""))
    written = write_response(parse_response(head, b"GET"), via=VIA, client_minor=1, close=False)
    assert b"proxy-auth" not in written.lower()
