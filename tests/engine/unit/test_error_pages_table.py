"""The status, Proxy-Status error, problem code and hint of each error page."""

import pytest

from trayproxy.engine import error_pages
from trayproxy.engine.error_pages import ErrorPage
from trayproxy.engine.transfer.head_cache import CachedRequest
from trayproxy.engine.upstream.pool import PoolKey
from trayproxy.engine.upstream.route import Route
from trayproxy.http.errors import MessageError, TooLargeError
from trayproxy.http.request import parse_request

OUTSIDE = "You may be outside the company network or VPN."

PAGES = [
    (error_pages.invalid_response(MessageError(502, "x")), 502, "http_protocol_error", ""),
    (
        error_pages.invalid_response(TooLargeError(502, "x")),
        502,
        "http_response_header_section_size",
        "",
    ),
    (error_pages.needs_http_proxy("ftp", "a.test"), 501, "proxy_configuration_error", ""),
    (error_pages.slow_site("a.test", 900), 504, "http_response_timeout", ""),
    (error_pages.slow_site_or_proxy("a.test", "p.test", 900), 504, "http_response_timeout", ""),
    (error_pages.not_found("a.test", through_upstream=True), 502, "dns_error", "TP-201"),
    (error_pages.refused_connection("a.test", 80), 502, "connection_refused", "TP-202"),
    (
        error_pages.no_response("a.test", 10, through_upstream=True),
        504,
        "connection_timeout",
        "TP-203",
    ),
    (error_pages.untrusted("a.test", "Why."), 502, "tls_certificate_error", "TP-204"),
    (error_pages.no_secure_connection("a.test", "Why."), 502, "tls_protocol_error", "TP-204"),
    (
        error_pages.client_certificate("a.test", "Why.", is_refused=False),
        502,
        "tls_certificate_error",
        "TP-211",
    ),
    (
        error_pages.client_certificate("a.test", "Why.", is_refused=True),
        502,
        "tls_alert_received",
        "TP-212",
    ),
    (error_pages.not_socks("a.test"), 502, "proxy_internal_error", "TP-205"),
    (error_pages.socks_refused("a.test", 5), 502, "connection_refused", "TP-207"),
    (error_pages.socks_refused("a.test", 6), 504, "connection_timeout", "TP-207"),
    (error_pages.socks_refused("a.test", 99), 502, "destination_unavailable", "TP-207"),
    (error_pages.LOOP, 508, "proxy_loop_detected", "TP-702"),
    (error_pages.BUSY, 503, "connection_limit_reached", ""),
    (error_pages.CONNECTION_CLOSED, 502, "connection_terminated", ""),
    (error_pages.refused_request(431, "x"), 431, "", ""),
    (error_pages.NOT_A_PROXY_REQUEST, 400, "", ""),
    (error_pages.NO_PROFILE, 503, "proxy_configuration_error", ""),
    (error_pages.MAX_FORWARDS_REACHED, 200, "", ""),
    (error_pages.NOT_ALLOWED, 403, "http_request_denied", "TP-109"),
    (error_pages.TOO_LARGE_TO_REPEAT, 503, "proxy_configuration_error", ""),
    (error_pages.TOO_LARGE_BUT_SIGNED_IN, 503, "proxy_configuration_error", ""),
    (error_pages.NO_COMMON_METHOD, 503, "proxy_configuration_error", "TP-303"),
    (error_pages.SITE_WANTS_SIGN_IN, 502, "http_protocol_error", ""),
    (error_pages.sign_in_not_set("Office"), 502, "proxy_configuration_error", "TP-303"),
    (
        error_pages.no_route("a.test", "No route to host", through_upstream=True),
        *(502, "destination_ip_unroutable", "TP-208"),
    ),
    (error_pages.socks_refused("a.test", 2), 502, "destination_ip_prohibited", "TP-207"),
    (error_pages.socks_refused("a.test", 3), 502, "destination_ip_unroutable", "TP-207"),
    (error_pages.socks_refused("a.test", 4), 502, "destination_unavailable", "TP-207"),
]

RETRIES = [
    (error_pages.NO_PROFILE, 5),
    (error_pages.BUSY, 5),
    (error_pages.TOO_LARGE_TO_REPEAT, 1),
    (error_pages.TOO_LARGE_BUT_SIGNED_IN, 1),
    (error_pages.CONNECTION_CLOSED, None),
    (error_pages.LOOP, None),
    (error_pages.NOT_ALLOWED, None),
]
"""The value of Retry-After in seconds by page."""


@pytest.mark.parametrize(("page", "status", "error", "code"), PAGES)
def test_status_error_type_and_number(page: ErrorPage, status: int, error: str, code: str) -> None:
    assert (page.status, page.error, page.code) == (status, error, code)


@pytest.mark.parametrize(("page", "seconds"), RETRIES)
def test_retry_after(page: ErrorPage, seconds: int | None) -> None:
    assert page.retry_after == seconds


@pytest.mark.parametrize("through_upstream", [True, False])
def test_only_an_unreachable_proxy_suggests_another_network(through_upstream: bool) -> None:
    for page in (
        error_pages.not_found("a.test", through_upstream=through_upstream),
        error_pages.no_response("a.test", 10, through_upstream=through_upstream),
        error_pages.no_route("a.test", "No route to host", through_upstream=through_upstream),
    ):
        assert page.body.endswith(OUTSIDE) is through_upstream
    not_found = error_pages.not_found("a.test", through_upstream=through_upstream).body
    start = "The name of the proxy could" if through_upstream else "The name could"
    assert not_found.startswith(start)


@pytest.mark.parametrize(
    ("line", "field", "is_simple", "opens_tunnel"),
    [
        (b"GET http://a.test/ HTTP/1.1", b"", True, False),
        (b"HEAD http://a.test/ HTTP/1.1", b"", False, False),
        (b"GET http://a.test/ HTTP/1.0", b"", False, False),
        (b"GET http://a.test/ HTTP/1.1", b"Content-Length: 1\r\n", False, False),
        (b"GET http://a.test/ HTTP/1.1", b"Upgrade: a\r\nConnection: upgrade\r\n", False, False),
        (b"CONNECT a.test:443 HTTP/1.1", b"", False, True),
        (b"CONNECT a.test:443 HTTP/1.0", b"", False, False),
        (b"CONNECT a.test:443 HTTP/1.1", b"Connection: close\r\n", False, True),
    ],
)
def test_a_request_is_sent_in_one_piece_if_nothing_follows_its_head(
    line: bytes, field: bytes, is_simple: bool, opens_tunnel: bool
) -> None:
    request = parse_request(line + b"\r\nHost: a.test\r\n" + field + b"\r\n")
    forwarded, refused = CachedRequest(request, None), CachedRequest(request, error_pages.LOOP)
    assert (forwarded.is_simple, forwarded.opens_tunnel) == (is_simple, opens_tunnel)
    assert (refused.is_simple, refused.opens_tunnel) == (False, False)


def test_a_written_head_is_reused_only_if_nothing_has_changed() -> None:
    plan = CachedRequest(
        parse_request(b"GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n"), None
    )
    way, other, key = Route.direct(), Route.direct(), PoolKey("http://proxy.test:3128")
    assert not plan.was_sent_with(way, None, key)
    plan.store_sent(b"wire", way, None, key)
    assert plan.was_sent_with(way, None, key)
    assert not plan.was_sent_with(other, None, key)
    assert not plan.was_sent_with(way, None, PoolKey("http://other.test:3128"))
    assert not plan.was_sent_with(way, None, None)
