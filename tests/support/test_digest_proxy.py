"""Tests for tests.support.digest_proxy: curl, which has a Digest of its own, agrees with it."""

import pytest

from tests.support.clients import Clients
from tests.support.digest_proxy import Demands, DigestProxy, DigestVerdict, expected
from tests.support.origin import Origin
from trayproxy.auth.login import Login

RIGHT = Login("alice", 'pa55 w:rd"\\')


@pytest.fixture
def origin() -> Origin:
    """It knows no names."""
    return Origin("127.0.0.1")


@pytest.mark.parametrize("algorithm", ["MD5", "MD5-sess", "SHA-256", "SHA-256-sess"])
@pytest.mark.parametrize("how", [(), ("--proxytunnel",)], ids=["plain", "tunnel"])
def test_curl_signs_in_to_the_proxy(
    origin: Origin, clients: Clients, algorithm: str, how: tuple[str, ...]
) -> None:
    demands = Demands((algorithm,), qop="auth,auth-int", any_uri=True)
    with origin, DigestProxy(RIGHT, demands) as proxy:
        arguments = ("-x", proxy.url, "--proxy-digest", *how, origin.url("/hello"))
        pair = f"{RIGHT.user}:{RIGHT.password}"
        right = clients.curl("-U", pair, *arguments).result()
        clients.curl("-U", "alice:wrong", *arguments).result()
    assert right.out == "hello", right
    assert proxy.verdicts == [
        DigestVerdict(True, algorithm=algorithm),
        DigestVerdict(False, False, algorithm),
    ]


SAID = {
    "realm": "http-auth@example.org",
    "uri": "/dir/index.html",
    "nonce": "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
    "nc": "00000001",
    "cnonce": "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
    "qop": "auth",
    "username": "Mufasa",
}
MUFASA = Login("Mufasa", "Circle of Life")


@pytest.mark.parametrize(
    ("algorithm", "response"),
    [
        ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
        ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
    ],
)
def test_the_proxy_agrees_with_the_examples_of_rfc_7616(algorithm: str, response: str) -> None:
    assert expected(MUFASA, SAID, algorithm, "GET", b"") == response


def test_the_proxy_agrees_with_the_example_of_a_hashed_name() -> None:
    """With the numbers of errata 4897: those of the RFC are of a truncated SHA-512."""
    said = {
        "username": "793263caabb707a56211940d90411ea4a575adeccb7e360aeb624ed06ece9b0b",
        "realm": "api@example.org",
        "uri": "/doe.json",
        "nonce": "5TsQWLVdgBdmrQ0XsxbDODV+57QdFR34I9HAbC/RVvkK",
        "nc": "00000001",
        "cnonce": "NTg6RKcb9boFIAS3KrFK9BGeh+iDa/sm6jUMp2wds69v",
        "qop": "auth",
        "userhash": "true",
    }
    jason = Login("J\u00e4s\u00f8n Doe", "Secret, or not?")
    right = "3798d4131c277846293534c3edc11bd8a5e4cdcbff78b05db9d95eeb1cec68a5"
    assert expected(jason, said, "SHA-512-256", "GET", b"") == right
