"""Downloads a PAC script by http or https, without proxy, without cookies and without signing in.

Redirects lead to the same protocol only (security.md T6), and not from a server of the network to
this computer. A script that has not changed is not sent again (RFC 9110, section 13).
"""

import re
import socket
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urljoin, urlsplit

from trayproxy.domain.problem import single_line
from trayproxy.http.body import response_body_reader
from trayproxy.http.errors import MessageError
from trayproxy.http.fields import Fields, is_field_value
from trayproxy.http.framing import Length
from trayproxy.http.heads import find_response_head
from trayproxy.http.limits import MessageLimits
from trayproxy.http.response import Response, parse_response
from trayproxy.pac.decoding import MAX_SIZE
from trayproxy.pac.direct_connection import (
    Address,
    Deadline,
    DownloadError,
    LookUp,
    MakeContext,
    connect,
    encrypt,
    is_of_this_computer,
    resolve,
)
from trayproxy.pac.stored_copy import Validators
from trayproxy.profiles.pac_address import parse_pac_source
from trayproxy.profiles.pac_source import PacKind

T = TypeVar("T")

MAX_REDIRECTS = 5
"""The largest number of redirects."""

_LIMITS = MessageLimits(head=1 << 16, lines=128)
_MAX_INTERIM = 8
_MAX_SHOWN = 200
_REDIRECTS = (301, 302, 303, 307, 308)
_OK, _NOT_MODIFIED = 200, 304
_MAX_VALIDATOR = 1000
_GZIP = 16 + 15
"""The argument ``wbits`` of zlib for the format of gzip (RFC 1952)."""
_CHARSET = re.compile(r';\s*charset\s*=\s*"?([A-Za-z0-9._:+-]+)', re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Download:
    """A downloaded file.

    Attributes:
        octets: The content.
        charset: The charset that the server states; empty if it states none.
        validators: The validators for the next download.
    """

    octets: bytes
    charset: str
    validators: Validators


@dataclass(frozen=True, slots=True)
class Downloader:
    """Downloads files.

    Attributes:
        look_up: Resolves names.
        make_context: Makes the TLS context, only if it is needed.
        deadline: The time limit.
        is_here: Returns True for the addresses to which no server of a network may redirect.
    """

    look_up: LookUp
    make_context: MakeContext
    deadline: Deadline
    is_here: Callable[[Address], bool] = is_of_this_computer

    def download(self, url: str, validators: Validators) -> Download | None:
        """Return the file at a URL; None if it has not changed.

        Args:
            url: An http or https URL as in `PacSource`.
            validators: The validators of the known file; empty if none is known.

        Raises:
            UnknownNameError: The name of the server does not exist.
            DownloadError: The file cannot be downloaded.
        """
        addresses = self._addresses(url)
        may_be_here = any(map(self.is_here, addresses))
        for _ in range(1 + MAX_REDIRECTS):
            answer = self._exchange(url, addresses, validators)
            if not isinstance(answer, str):
                return answer
            url = answer
            addresses = self._addresses(url)
            if not may_be_here and any(map(self.is_here, addresses)):
                raise DownloadError("the server redirects to this computer")
        raise DownloadError(f"the server redirects more than {MAX_REDIRECTS} times")

    def _addresses(self, url: str) -> Sequence[Address]:
        parts = urlsplit(url)
        host = parts.hostname or ""
        return resolve(self.look_up, host, parts.port or (443 if parts.scheme == "https" else 80))

    def _exchange(
        self, url: str, addresses: Sequence[Address], validators: Validators
    ) -> Download | str | None:
        """Request a URL; return the file, the URL of a redirect, or None for a known file."""
        parts = urlsplit(url)
        connection = connect(addresses, self.deadline)
        if parts.scheme == "https":
            host = (parts.hostname or "").partition("%")[0]
            connection = encrypt(connection, host, self.make_context, self.deadline)
        with connection:
            stream = _Stream(connection, self.deadline)
            stream.send(_request(url, validators))
            response = stream.read_head()
            if response.status in _REDIRECTS:
                return _target(url, response.fields)
            if response.status == _NOT_MODIFIED and validators != Validators():
                return None
            if response.status != _OK:
                raise DownloadError(_refusal(response.status))
            content = _decompressed(stream.read_content(response), response.fields)
        return Download(content, _charset(response.fields), _validators(response.fields))


class _Stream:
    """A connection on which each operation counts against the time limit of the download."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline
        self._received = bytearray()

    def send(self, octets: bytes) -> None:
        """Send octets."""
        self._call(lambda: self._connection.sendall(octets))

    def read_head(self) -> Response:
        """Return the head of the final response."""
        try:
            for _ in range(1 + _MAX_INTERIM):
                while (end := find_response_head(self._received, _LIMITS)) is None:
                    if not (octets := self._receive()):
                        raise DownloadError("the server closed the connection without an answer")
                    self._received += octets
                response = parse_response(bytes(self._received[:end]), b"GET")
                del self._received[:end]
                if not response.is_interim:
                    return response
        except MessageError:
            pass
        raise DownloadError("the answer of the server is not HTTP")

    def read_content(self, response: Response) -> bytes:
        """Return the content of the response."""
        if isinstance(response.framing, Length) and response.framing.octets > MAX_SIZE:
            raise _too_large()
        body = response_body_reader(response.framing)
        content = bytearray()
        try:
            octets = bytes(self._received)
            while True:
                pieces, _ = body.feed(octets)
                content += b"".join(pieces)
                if len(content) > MAX_SIZE:
                    raise _too_large()
                if body.done:
                    return bytes(content)
                if not (octets := self._receive()):
                    body.eof()
                    return bytes(content)
        except MessageError:
            raise DownloadError("the answer of the server is not complete") from None

    def _receive(self) -> bytes:
        """Return octets; none at the end of the connection."""
        return self._call(lambda: self._connection.recv(1 << 16))

    def _call(self, operation: Callable[[], T]) -> T:
        self._connection.settimeout(self._deadline.left_s())
        try:
            return operation()
        except TimeoutError:
            raise self._deadline.error() from None
        except OSError:
            raise DownloadError(
                "the server closed the connection before its answer ended"
            ) from None


def _request(url: str, validators: Validators) -> bytes:
    parts = urlsplit(url)
    host = re.sub("%[^]]*", "", parts.netloc)  # A zone is only for this computer (RFC 6874).
    target = f"{parts.path or '/'}?{parts.query}" if parts.query else parts.path or "/"
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {host}",
        "User-Agent: TrayProxy",
        "Accept: application/x-ns-proxy-autoconfig, */*",
        "Accept-Encoding: identity",
        "Connection: close",
    ]
    for name, value in (
        ("If-None-Match", validators.etag),
        ("If-Modified-Since", validators.last_modified),
    ):
        if value and is_field_value(value.encode("latin-1", "replace")):
            lines.append(f"{name}: {value}")
    return "\r\n".join((*lines, "", "")).encode("latin-1", "replace")


def _target(url: str, fields: Fields) -> str:
    """Return the URL to which a server redirects.

    Raises:
        DownloadError: The redirect must not be followed.
    """
    location = b"".join(fields.get_all(b"location")[:1]).decode("utf-8", "replace")
    try:
        target = parse_pac_source(urljoin(url, location))
    except ValueError:  # Also a `ProfileError`.
        raise DownloadError("the server redirects to an unusable address") from None
    if target.kind is not PacKind.URL or not location:
        raise DownloadError("the server redirects to an unusable address")
    if urlsplit(target.location).scheme != urlsplit(url).scheme:
        shown = single_line(target.title)[:_MAX_SHOWN]
        raise DownloadError(f"the server redirects to another protocol; use {shown} if it is right")
    return target.location


def _refusal(status: int) -> str:
    match status:
        case 401 | 407:
            return "the server asks for a sign-in, and scripts are loaded without one"
        case 404 | 410:
            return f"the server does not have it (status {status})"
        case 511:
            return "the network requires a sign-in on its own page (status 511)"
    return f"the server answered with the status {status}"


def _decompressed(content: bytes, fields: Fields) -> bytes:
    """Return the content without the coding that some servers apply unasked."""
    codings = [coding for coding in fields.tokens(b"content-encoding") if coding != b"identity"]
    if not codings:
        return content
    if codings not in ([b"gzip"], [b"x-gzip"]):
        raise DownloadError("the server has compressed it in an unknown way")
    expand = zlib.decompressobj(_GZIP)
    try:
        plain = expand.decompress(content, MAX_SIZE + 1)
    except zlib.error:
        raise DownloadError("it is compressed, and damaged") from None
    if len(plain) > MAX_SIZE:
        raise _too_large()
    if not expand.eof:
        raise DownloadError("the answer of the server is not complete")
    return plain


def _charset(fields: Fields) -> str:
    content_type = b"".join(fields.get_all(b"content-type")[:1]).decode("latin-1")
    found = _CHARSET.search(content_type)
    return found[1] if found else ""


def _validators(fields: Fields) -> Validators:
    etag, date = (
        b"".join(fields.get_all(name)[:1])[:_MAX_VALIDATOR].decode("latin-1")
        for name in (b"etag", b"last-modified")
    )
    return Validators(etag, date)


def _too_large() -> DownloadError:
    return DownloadError(f"it is larger than {MAX_SIZE >> 20} MiB")
