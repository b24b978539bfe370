"""The web site of the demonstration: one page."""

from trayproxy.demo.wire import DemoRequestHead, DemoStream, read_head, write_response

PAGE = "This is the demonstration's page. The proxy let you in.\n"


async def serve_page(stream: DemoStream) -> None:
    """Respond to the requests of one connection with the page until the client disconnects."""
    while (head := await read_head(stream.reader)) is not None:
        # The body of a request is not read, so no request after it can be read.
        last = head.has_body or head.value("connection").lower() == "close"
        stream.writer.write(_answer(head, last))
        await stream.writer.drain()
        if last:
            return


def _answer(head: DemoRequestHead, last: bool) -> bytes:
    closing = ("Connection: close",) if last else ()
    if head.method not in ("GET", "HEAD"):
        fields = ("Allow: GET, HEAD", *closing)
        return write_response("405 Method Not Allowed", "This page can only be read.\n", fields)
    return write_response("200 OK", PAGE, closing, head_only=head.method == "HEAD")
