"""The part of a URL that scripts see.

Facts of others: Chromium's "passthrough" and "IPv6HostnamesNotBracketed" cases and its rule for
https; alpaca's pacrunner_test.go (https and wss without path). Alpaca keeps the fragment of an http
URL; browsers and TrayProxy remove it.
"""

import pytest

from trayproxy.pac.visible_url import VisibleUrl, visible_url


@pytest.mark.parametrize(
    ("url", "seen", "host"),
    [
        ("http://query.com/path", "http://query.com/path", "query.com"),
        ("ftp://query.com:90/path", "ftp://query.com:90/path", "query.com"),
        ("http://[abcd::efff]:99/watsupdawg", "http://[abcd::efff]:99/watsupdawg", "abcd::efff"),
        ("https://alpaca.test/a?b=c#d", "https://alpaca.test/", "alpaca.test"),
        ("wss://alpaca.test/a?b=c#d", "wss://alpaca.test/", "alpaca.test"),
        ("http://alpaca.test/a?b=c#d", "http://alpaca.test/a?b=c", "alpaca.test"),
        ("https://site.example:443", "https://site.example/", "site.example"),
        ("https://site.example:8443", "https://site.example:8443/", "site.example"),
        ("https://[::1]:443", "https://[::1]/", "::1"),
        ("HTTP://Alice:s3cret@Site.Example:80/A", "http://site.example/A", "site.example"),
        ("http://site.example", "http://site.example/", "site.example"),
        ("http://site.example?q=1", "http://site.example/?q=1", "site.example"),
        ("http://site.example#top", "http://site.example/", "site.example"),
        ("http://a@b@site.example/@x", "http://site.example/@x", "site.example"),
    ],
)
def test_a_script_sees_no_login_no_fragment_and_no_encrypted_path(
    url: str, seen: str, host: str
) -> None:
    assert visible_url(url) == VisibleUrl(seen, host)


@pytest.mark.parametrize("url", ["", "/path", "//site.example/", "http:///path", "http://:80/"])
def test_a_url_without_scheme_or_host_is_an_error(url: str) -> None:
    with pytest.raises(ValueError, match="no host"):
        visible_url(url)
