"""The seeds of the fuzzer: the corpus, 407 responses of real proxies, and further messages."""

import json
from functools import cache
from pathlib import Path

_HTTP = Path(__file__).parents[1] / "http"
_MAX_LENGTH = 4096

_OWN = (
    b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    b"POST http://a/ HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"5;x=y\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"HTTP/1.0 200\r\nContent-Length : 5\r\n\r\nhello",
    b"5\r\nhello\r\n6;a=b\r\n world\r\n0\r\nX: y\r\n\r\n",
    b'Digest realm="My "new" proxy", nonce="a,b\\"c", qop="auth,auth-int", stale=true',
    b'Negotiate\nNTLM TlRMTVNTUAACAAAA, Basic realm="x"\nDigest realm=x nonce=y',
    b"\x05\x02\x01\x00\x05\x00\x00\x03\x04name\x01\xbb",
    b"\x05\x00\x05\x00\x00\x04" + bytes(18),
    b"\x05\x02\x00\x02\x05\x01\x00\x03\x04name\x01\xbb",
    b"\x05\x01\x02\x01\x04user\x04pass\x05\x01\x00\x01\x7f\x00\x00\x01\x01\xbb",
)


@cache
def seeds() -> tuple[bytes, ...]:
    """Return the seeds, without the seeds longer than `_MAX_LENGTH`."""
    corpus = json.loads((_HTTP / "corpus.json").read_text(encoding="utf-8"))
    cases = [
        case["bytes"].encode("ascii").decode("unicode_escape").encode("latin-1")
        for case in corpus
        if "expand" not in case and "bytes" in case
    ]
    answers = [path.read_bytes() for path in sorted((_HTTP / "407").glob("*.txt"))]
    fields = [
        line.partition(b":")[2]
        for answer in answers
        for line in answer.splitlines()
        if line.lower().startswith(b"proxy-authenticate:")
    ]
    found = dict.fromkeys((*_OWN, *cases, *answers, *fields))
    return tuple(octets for octets in found if len(octets) <= _MAX_LENGTH)
