"""URLs of other schemes than http: a proxy fetches them, and nobody else is asked to."""

import pytest

from tests.engine.conftest import Serve, Start
from tests.engine.fakes import LOGIN, FakeBroker, office
from tests.engine.recorder import Recorder
from tests.engine.wire import get
from tests.support.scripted_upstream import OK, answering, challenge
from trayproxy.auth.basic import basic_credentials
from trayproxy.profiles.profile import Profile, ProxyScheme, Upstream

URLS = [b"ftp://me:x%40y@files.test/a", b"https://files.test/a", b"gopher://files.test/a"]


@pytest.mark.parametrize("url", URLS)
def test_an_http_proxy_gets_the_url_as_it_is_with_the_login(serve: Serve, url: bytes) -> None:
    client, upstream = serve(answering(challenge('Basic realm="r"'), OK), desk=FakeBroker(LOGIN))
    octets = get(url).replace(b"Host: me:x%40y@", b"Host: ")
    assert client.ask(octets).body == b"ok\n"
    heads = upstream.peers[0].received.split(b"\r\n\r\n")[:-1]
    assert [head.split(b"\r\n")[:2] for head in heads] == [
        [b"GET %b HTTP/1.1" % url, b"Host: files.test"]
    ] * 2
    assert basic_credentials(LOGIN) in heads[1]


@pytest.mark.parametrize("kind", ["direct", "socks", "dead proxy, then socks"])
@pytest.mark.parametrize("url", URLS)
def test_without_an_http_proxy_a_page_gives_advice(
    start: Start, recorder: Recorder, url: bytes, kind: str
) -> None:
    socks = Upstream("127.0.0.1", recorder.port, ProxyScheme.SOCKS5)
    profile = Profile("office", "Office", socks)
    if kind.startswith("dead"):
        dead = Upstream("127.0.0.1", 1)
        profile = Profile("office", "Office", dead, fallbacks=(socks,))
    engine = start(profile)
    if kind == "direct":
        engine.routes.direct.add("*")
    with engine.connect() as client:
        reply = client.ask(get(url))
        scheme = url.partition(b":")[0]
        assert reply.status == 501
        assert b"<h1>%b:// addresses need an HTTP proxy</h1>" % scheme in reply.body
        assert b"files.test is reached without one" in reply.body
        assert (b"CONNECT" in reply.body) is (scheme == b"https")
        assert b"x%40y" not in reply.body
        # The connection goes on.
        assert client.ask(get(url)).status == 501
    assert not recorder.octets


def test_octets_above_ascii_pass(serve: Serve) -> None:
    url = b"http://origin.test/caf\xc3\xa9?q=\xe9"
    client, upstream = serve(answering(OK))
    assert client.ask(get(url)).body == b"ok\n"
    assert upstream.peers[0].received.startswith(b"GET %b HTTP/1.1\r\n" % url)


def test_a_url_of_another_scheme_to_ourselves_is_a_loop(start: Start) -> None:
    engine = start(office(1))
    with engine.connect() as client:
        assert client.ask(get(b"ftp://127.0.0.1:%d/" % engine.port)).status == 508
