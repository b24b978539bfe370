"""The grammar of answers.

Facts of others: Netscape's definition (`hostname:port`, several with `;`, null means no proxy),
Chromium's proxy_resolver_v8_unittest (an empty answer is direct, an invisible character is an
error) and default ports, Mozilla's test_protocolproxyservice.js (a proxy, then DIRECT), px#184
(blank entries), px's test_pac.py (a SOCKS5 proxy).
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayproxy.pac.answers import (
    MAX_ANSWER_LENGTH,
    MAX_HOPS,
    MAX_SKIPPED,
    Direct,
    Hop,
    parse_answer,
)
from trayproxy.profiles.profile import ProxyScheme, Upstream

PROXY = Upstream("proxy.example", 8080)


def proxy(host: str, port: int, scheme: ProxyScheme = ProxyScheme.HTTP) -> Upstream:
    return Upstream(host, port, scheme)


@pytest.mark.parametrize(
    ("text", "hops"),
    [
        ("DIRECT", [Direct()]),
        ("direct", [Direct()]),
        ("PROXY proxy.example:8080", [PROXY]),
        ("proxy Proxy.Example:8080", [PROXY]),
        ("PROXY\tproxy.example:8080 ", [PROXY]),
        ("PROXY foopy:8080; DIRECT", [proxy("foopy", 8080), Direct()]),
        (";; PROXY proxy.example:8080; ; DIRECT;", [PROXY, Direct()]),
        ("PROXY a:1;PROXY b:2;PROXY a:1", [proxy("a", 1), proxy("b", 2)]),
        ("PROXY proxy.example", [proxy("proxy.example", 80)]),
        ("HTTP proxy.example", [proxy("proxy.example", 80)]),
        ("HTTPS proxy.example", [proxy("proxy.example", 443, ProxyScheme.HTTPS)]),
        ("HTTPS proxy.example:8443", [proxy("proxy.example", 8443, ProxyScheme.HTTPS)]),
        ("SOCKS5 socks.com:1081", [proxy("socks.com", 1081, ProxyScheme.SOCKS5)]),
        ("SOCKS5 socks.com", [proxy("socks.com", 1080, ProxyScheme.SOCKS5)]),
        ("SOCKS socks.com", [proxy("socks.com", 1080, ProxyScheme.SOCKS5)]),
        ("PROXY [FD00::1]:3128", [proxy("fd00::1", 3128)]),
        ("PROXY [fd00::1]", [proxy("fd00::1", 80)]),
        ("PROXY 10.0.0.1:3128", [proxy("10.0.0.1", 3128)]),
        ("PROXY bücher.example:80", [proxy("xn--bcher-kva.example", 80)]),
        ("", [Direct()]),
        (" ; ;", [Direct()]),
    ],
)
def test_entries_become_hops_in_the_order_of_the_script(text: str, hops: list[Hop]) -> None:
    answer = parse_answer(text)

    assert list(answer.hops) == hops
    assert answer.skipped == ()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("SOCKS4 socks.example:1080", "SOCKS4"),
        ("FTP proxy.example:21", "begins with DIRECT"),
        ("proxy.example:8080", "begins with DIRECT"),
        ("PROXY", "missing"),
        ("PROXY proxy.example:", "port"),
        ("PROXY proxy.example:0", "port"),
        ("PROXY proxy.example:65536", "port"),
        ("PROXY proxy.example :80", "blank"),
        ("PROXY a:1, PROXY b:2", "comma"),
        ("PROXY a:1 DIRECT", "semicolons"),
        ("DIRECT PROXY a:1", "stands alone"),
        ("PROXY http://proxy.example:8080", "only the host and the port"),
        ("PROXY foo.com\u200b", "invisible"),
        ("PROXY fd00::1:3128", "brackets"),
        ("PROXY 127.1:3128", "in full"),
        ("PROXY ha:st:80", "brackets"),
    ],
)
def test_an_entry_that_cannot_be_read_is_skipped_with_its_reason(text: str, reason: str) -> None:
    answer = parse_answer(f"{text}; PROXY proxy.example:8080")

    assert answer.hops == (PROXY,)
    (skipped,) = answer.skipped
    assert reason in skipped.reason
    assert "\u200b" not in skipped.text


def test_without_a_usable_entry_nothing_is_direct() -> None:
    assert parse_answer("SOCKS4 s:1; nonsense").hops == ()


def test_a_login_in_an_answer_is_neither_used_nor_repeated() -> None:
    answer = parse_answer("PROXY alice:s3cret@proxy.example:8080; DIRECT")

    assert answer.hops == (Direct(),)
    assert "s3cret" not in answer.text + answer.skipped[0].text + answer.skipped[0].reason


def test_a_long_answer_is_cut_between_entries() -> None:
    text = "PROXY proxy.example:8080;" + " " * MAX_ANSWER_LENGTH + "PROXY other.example:8080"

    answer = parse_answer(text)

    assert answer.hops == (PROXY,)
    assert len(answer.text) <= 200


def test_the_proxies_of_an_answer_are_bounded() -> None:
    answer = parse_answer(";".join(f"PROXY p{number}:80" for number in range(200)))

    assert len(answer.hops) == MAX_HOPS
    assert len(answer.skipped) == MAX_SKIPPED
    assert str(MAX_HOPS) in answer.skipped[0].reason


@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(["PROXY", "DIRECT", "SOCKS", " ", ";", ":", "[", "]", "a.b", "80", "@"])
    ).map("".join)
)
def test_any_text_is_read(text: str) -> None:
    answer = parse_answer(text)

    assert all(isinstance(hop, Direct) or 0 < hop.port < 65536 for hop in answer.hops)
    assert "\n" not in answer.text
