import re
from dataclasses import replace

import h11
import pytest

from tests.http.readers import h11_response, llhttp_response
from trayproxy.engine import error_pages
from trayproxy.engine.error_pages import (
    ErrorPage,
    quotable,
    reason_phrase,
    refused_request,
    write_page,
)

PAGE = ErrorPage(
    502,
    "proxy.corp.example refused the connection",
    "Something answers at this address, but not on port 3128.",
    "connection_refused",
    "TP-202",
)
ALL = [value for value in vars(error_pages).values() if isinstance(value, ErrorPage)]


def written(page: ErrorPage, *, host: str = "www.test", with_body: bool = True) -> bytes:
    return write_page(
        page, address="127.0.0.1:3128", host=host, keep_alive=True, with_body=with_body
    )


@pytest.mark.parametrize("page", ALL, ids=lambda page: str(page.status))
def test_every_page_is_a_valid_response(page: ErrorPage) -> None:
    for read in (h11_response, llhttp_response):
        reading = read(written(page))
        assert reading.start[0] == b"%d" % page.status


@pytest.mark.parametrize("page", ALL, ids=lambda page: str(page.status))
def test_a_407_is_only_for_devices_without_the_password(page: ErrorPage) -> None:
    assert (page.status == 407) is (page is error_pages.PASSWORD_NEEDED)
    assert bool(page.challenge) is (page.status == 407)
    assert (b"proxy-authenticate" in written(page).lower()) is bool(page.challenge)


def test_a_page_contains_title_reason_and_origin() -> None:
    body = h11_response(written(PAGE)).body.decode()
    for text in (PAGE.title, PAGE.body, "127.0.0.1:3128", "not from www.test", "TP-202"):
        assert text in body


def test_the_reason_is_in_the_reason_phrase_and_in_proxy_status() -> None:
    reading = h11_response(written(PAGE))
    status = dict(reading.fields)[b"proxy-status"]
    assert status.startswith(b"TrayProxy; error=connection_refused;")
    assert reading.start[1] == b"proxy.corp.example refused the connection (TP-202)"


def test_inserted_text_is_escaped() -> None:
    page = replace(PAGE, title="<b>", body='<script>"&')
    body = h11_response(written(page, host="<i>")).body.decode()
    for markup in ("<b>", "<script>", "<i>"):
        assert markup not in body
    assert "&lt;script&gt;" in body


@pytest.mark.parametrize(
    "text", ['say "no"', "back\\slash", "line\r\nX-Injected: 1", "tab\t", "caf\xe9", "“quoted”"]
)
def test_no_text_breaks_out_of_the_response_head(text: str) -> None:
    octets = written(replace(PAGE, title=text))
    fields = dict(h11_response(octets).fields)
    assert b"x-injected" not in fields
    assert re.fullmatch(rb'TrayProxy; error=\S+; details="[ !#-\[\]-~]*"', fields[b"proxy-status"])


def test_plain_text_is_not_changed() -> None:
    assert quotable("Plain text, 100 %") == "Plain text, 100 %"


def test_head_gets_the_same_head_without_the_content() -> None:
    whole, head = written(PAGE), written(PAGE, with_body=False)
    assert whole.startswith(head)
    assert head.endswith(b"\r\n\r\n")
    assert h11_response(head, b"HEAD").body == b""


def test_a_page_has_no_external_resources_and_is_not_cached() -> None:
    octets = written(PAGE)
    assert b"http://" not in octets
    assert b"https://" not in octets
    assert b"Cache-Control: no-store" in octets


@pytest.mark.parametrize("keep_alive", [True, False])
def test_the_connection_field_follows_keep_alive(keep_alive: bool) -> None:
    octets = write_page(PAGE, address="a", host="", keep_alive=keep_alive, with_body=True)
    value = dict(h11_response(octets).fields)[b"connection"]
    assert value == (b"keep-alive" if keep_alive else b"close")


def test_a_page_contains_no_text_of_the_request() -> None:
    page = refused_request(400, "Host is invalid")
    assert b"Host is invalid" in written(page)
    assert reason_phrase(page) == "Bad Request"


def test_retry_after_and_allow_are_sent() -> None:
    fields = dict(h11_response(written(replace(PAGE, retry_after=5, allow="GET"))).fields)
    assert (fields[b"retry-after"], fields[b"allow"]) == (b"5", b"GET")


def test_content_length_counts_octets() -> None:
    """Content-Length is the number of octets, not of characters."""
    octets = written(replace(PAGE, body="größer als gedacht"))
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method="GET", target="/", headers=[("Host", "a")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(octets)
    while reader.next_event() is not h11.PAUSED and reader.their_state is not h11.DONE:
        pass
    assert reader.trailing_data[0] == b""
