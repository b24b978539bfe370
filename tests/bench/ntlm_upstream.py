"""A minimal upstream with NTLM, which accepts any response to its challenge.

    python ntlm_upstream.py PORT

A tunnel returns the octets it receives. ``GET http://count/`` returns, without authentication, the
number of heads received so far.
"""

import asyncio
import base64
import sys
from typing import cast

import uvloop

_INFO = b"".join(
    kind.to_bytes(2, "little") + len(value).to_bytes(2, "little") + value
    for kind, value in (
        (2, "CORP".encode("utf-16-le")),
        (1, "PROXY".encode("utf-16-le")),
        (7, bytes(8)),
        (0, b""),
    )
)
_TYPE_2 = b"".join(
    (
        b"NTLMSSP\0" + (2).to_bytes(4, "little"),
        b"\x08\0\x08\0\x38\0\0\0",  # The target name: 8 octets after the first 56.
        bytes.fromhex("05828962"),  # The flags of Samba's ntlm_auth.
        b"challeng" + bytes(8),
        len(_INFO).to_bytes(2, "little") * 2 + (64).to_bytes(4, "little"),
        bytes(8),
        "CORP".encode("utf-16-le"),
        _INFO,
    )
)
_ASK = b"HTTP/1.1 407 Sign in\r\nProxy-Authenticate: NTLM%b\r\nContent-Length: 0\r\n\r\n"
_GO_ON = _ASK % (b" " + base64.b64encode(_TYPE_2))
_SIGN_IN = _ASK % b""
_OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"
_OK = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b"
_TYPE_1 = base64.b64encode(b"NTLMSSP\0" + (1).to_bytes(4, "little"))[:12]


class NtlmSession(asyncio.Protocol):
    """One connection."""

    heads = 0

    def __init__(self) -> None:
        self._waiting = b""
        self._is_signed_in = self._is_open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._is_open:
            self._transport.write(data)
            return
        self._waiting += data
        while b"\r\n\r\n" in self._waiting and not self._is_open:
            head, _, self._waiting = self._waiting.partition(b"\r\n\r\n")
            self._answer(head)

    def _answer(self, head: bytes) -> None:
        if head.startswith(b"GET http://count/"):
            text = b"%d" % NtlmSession.heads
            self._transport.write(_OK % (len(text), text))
            return
        NtlmSession.heads += 1
        _, carries, token = head.partition(b"Proxy-Authorization: NTLM ")
        if carries and token.startswith(_TYPE_1):
            self._transport.write(_GO_ON)
        elif carries or self._is_signed_in:
            self._is_signed_in = True
            self._is_open = head.startswith(b"CONNECT ")
            self._transport.write(_OPEN if self._is_open else _OK % (0, b""))
        else:
            self._transport.write(_SIGN_IN)


async def serve(port: int) -> None:
    """Serve for ever."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(NtlmSession, "127.0.0.1", port, backlog=1024)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
