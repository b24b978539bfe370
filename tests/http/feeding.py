"""Feeds octets to the readers of content."""

from trayproxy.http.body import Body


def feed(body: Body, *parts: bytes | memoryview) -> tuple[bytes, bytes]:
    """Feed the parts to a reader of content; return the content and the surplus octets."""
    content, surplus = b"", b""
    for part in parts:
        pieces, taken = body.feed(part)
        content += b"".join(pieces)
        surplus += bytes(part[taken:])
    return content, surplus


def single_octets(data: bytes) -> list[bytes]:
    return [data[i : i + 1] for i in range(len(data))]
