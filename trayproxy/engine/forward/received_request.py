"""A request as received: parsed, and checked whether it is forwarded."""

from trayproxy.engine import error_pages
from trayproxy.engine.context import EngineContext
from trayproxy.engine.error_pages import ErrorPage
from trayproxy.engine.transfer.head_cache import CachedRequest
from trayproxy.http.request import Request, parse_request
from trayproxy.http.target import Form


def received_request(context: EngineContext, head: bytes) -> CachedRequest:
    """Return the request with this head, from the cache or parsed now. Raise `MessageError` if the
    head is malformed or too long."""
    cached = context.caches.requests.get(head)
    if cached is None:
        request = parse_request(head)
        cached = CachedRequest(request, _error_page(context, request))
        context.caches.requests.store(head, cached, len(head))
    return cached


def _error_page(context: EngineContext, request: Request) -> ErrorPage | None:
    """Return the error page for a request which is not forwarded; None if it is forwarded."""
    if request.target.form in (Form.ORIGIN, Form.ASTERISK):
        return error_pages.NOT_A_PROXY_REQUEST
    if request.method == b"TRACE":
        # The final recipient may send the credentials back (RFC 9110, section 9.3.8).
        return ErrorPage(
            405, "TRACE is not passed on", "It could reveal your sign-in.", allow="GET"
        )
    if context.own_address.is_loop(request):
        return error_pages.LOOP
    if request.has_max_forwards_zero:
        return error_pages.MAX_FORWARDS_REACHED
    return None
