"""What each page says to scripts and to people: status, error type, number, and the hint."""

import pytest

from trayproxy.engine import pages
from trayproxy.engine.memory import Plan
from trayproxy.engine.pages import Page
from trayproxy.engine.upstream import Key
from trayproxy.engine.way import Way
from trayproxy.http.errors import MessageError, TooLargeError
from trayproxy.http.request import parse_request

OUTSIDE = "You may be outside the company network or VPN."

PAGES = [
    (pages.refused_answer(MessageError(502, "x")), 502, "http_protocol_error", ""),
    (pages.refused_answer(TooLargeError(502, "x")), 502, "http_response_header_section_size", ""),
    (pages.only_by_proxy("ftp", "a.test"), 501, "proxy_configuration_error", ""),
    (pages.slow_site("a.test", 900), 504, "http_response_timeout", ""),
    (pages.slow_or_silent("a.test", "p.test", 900), 504, "http_response_timeout", ""),
    (pages.not_found("a.test", through_upstream=True), 502, "dns_error", "TP-201"),
    (pages.refused_connection("a.test", 80), 502, "connection_refused", "TP-202"),
    (pages.silent("a.test", 10, through_upstream=True), 504, "connection_timeout", "TP-203"),
    (pages.untrusted("a.test", "Why."), 502, "tls_certificate_error", "TP-204"),
    (pages.not_encrypted("a.test", "Why."), 502, "tls_protocol_error", "TP-204"),
    (pages.not_socks("a.test"), 502, "proxy_internal_error", "TP-205"),
    (pages.socks_refused("a.test", 5), 502, "connection_refused", "TP-207"),
    (pages.socks_refused("a.test", 6), 504, "connection_timeout", "TP-207"),
    (pages.socks_refused("a.test", 99), 502, "destination_unavailable", "TP-207"),
    (pages.LOOP, 508, "proxy_loop_detected", "TP-702"),
    (pages.BUSY, 503, "connection_limit_reached", ""),
    (pages.CUT_SHORT, 502, "connection_terminated", ""),
    (pages.refused_request(431, "x"), 431, "", ""),
    (pages.NOT_A_PROXY_REQUEST, 400, "", ""),
    (pages.NO_PROFILE, 503, "proxy_configuration_error", ""),
    (pages.LAST_STOP, 200, "", ""),
    (pages.NOT_ALLOWED, 403, "http_request_denied", "TP-109"),
    (pages.TOO_LARGE_TO_REPEAT, 503, "proxy_configuration_error", ""),
    (pages.TOO_LARGE_BUT_SIGNED_IN, 503, "proxy_configuration_error", ""),
    (pages.NO_COMMON_METHOD, 503, "proxy_configuration_error", "TP-303"),
    (pages.SITE_WANTS_SIGN_IN, 502, "http_protocol_error", ""),
    (pages.sign_in_not_set("Office"), 502, "proxy_configuration_error", "TP-303"),
    (
        pages.no_route("a.test", "No route to host", through_upstream=True),
        *(502, "destination_ip_unroutable", "TP-208"),
    ),
    (pages.socks_refused("a.test", 2), 502, "destination_ip_prohibited", "TP-207"),
    (pages.socks_refused("a.test", 3), 502, "destination_ip_unroutable", "TP-207"),
    (pages.socks_refused("a.test", 4), 502, "destination_unavailable", "TP-207"),
]

RETRIES = [
    (pages.NO_PROFILE, 5),
    (pages.BUSY, 5),
    (pages.TOO_LARGE_TO_REPEAT, 1),
    (pages.TOO_LARGE_BUT_SIGNED_IN, 1),
    (pages.CUT_SHORT, None),
    (pages.LOOP, None),
    (pages.NOT_ALLOWED, None),
]
"""After how many seconds asking again makes sense."""


@pytest.mark.parametrize(("page", "status", "error", "code"), PAGES)
def test_status_error_type_and_number(page: Page, status: int, error: str, code: str) -> None:
    assert (page.status, page.error, page.code) == (status, error, code)


@pytest.mark.parametrize(("page", "seconds"), RETRIES)
def test_when_to_ask_again(page: Page, seconds: int | None) -> None:
    assert page.retry_after == seconds


@pytest.mark.parametrize("through_upstream", [True, False])
def test_only_a_proxy_that_is_not_found_or_silent_may_mean_another_network(
    through_upstream: bool,
) -> None:
    for page in (
        pages.not_found("a.test", through_upstream=through_upstream),
        pages.silent("a.test", 10, through_upstream=through_upstream),
        pages.no_route("a.test", "No route to host", through_upstream=through_upstream),
    ):
        assert page.body.endswith(OUTSIDE) is through_upstream
    not_found = pages.not_found("a.test", through_upstream=through_upstream).body
    start = "The name of the proxy could" if through_upstream else "The name could"
    assert not_found.startswith(start)


def test_what_was_written_is_sent_again_only_if_all_is_as_it_was() -> None:
    plan = Plan(parse_request(b"GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n"), None)
    way, other, key = Way.directly(), Way.directly(), Key("http://proxy.test:3128")
    assert not plan.suits(way, None, key)
    plan.was_written(b"wire", way, None, key)
    assert plan.suits(way, None, key)
    assert not plan.suits(other, None, key)
    assert not plan.suits(way, None, Key("http://other.test:3128"))
    assert not plan.suits(way, None, None)
