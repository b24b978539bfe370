"""Tests for trayproxy.desk.challenge_reader: challenges and schemes as values of the machine."""

from dataclasses import dataclass, replace

import pytest

from tests.desk.machine_driver import OFFICE, SPACE
from tests.support.stub_scheme import StubScheme
from tests.support.values import RIGHT
from trayproxy.auth.basic import Basic
from trayproxy.auth.login import Login, LoginError
from trayproxy.auth.scheme import Authenticator, ConstantAuthenticator, Scheme, Verdict, VerdictKind
from trayproxy.auth.socks import socks_challenge
from trayproxy.desk.challenge_reader import (
    SOCKS_SCHEMES,
    ChallengeReader,
    is_offered_again,
    tried_login,
)
from trayproxy.desk.credentials import AcceptanceRecord, Credentials
from trayproxy.desk.protection_space import LoginId, UpstreamId
from trayproxy.domain.signin import Transport
from trayproxy.http.challenges import Challenge, parse_challenges
from trayproxy.profiles.profile import Method, Profile, ProxyScheme, Upstream

OFFICE_ID = UpstreamId.of(OFFICE)
SOCKS = replace(OFFICE, upstream=Upstream("socks.example", 1080, ProxyScheme.SOCKS5))
TLS = replace(OFFICE, upstream=Upstream("proxy.example", 443, ProxyScheme.HTTPS))


@dataclass
class ShortNames(StubScheme):
    """A scheme for user names of at most four characters."""

    def check(self, login: Login) -> None:
        if len(login.user) > 4:
            raise LoginError("This user name is too long.")

    def authenticator(self, challenge: Challenge, login: Login | None, host: str) -> Authenticator:
        return ConstantAuthenticator(b"")


NTLM = ShortNames()
DIGEST = ShortNames(name="digest", title="Digest", family="digest")
BASIC = Basic()


def reader(*installed: str) -> ChallengeReader:
    return ChallengeReader((NTLM, DIGEST, BASIC), installed.__contains__)


def credentials(scheme: Scheme, challenge: str = "") -> Credentials:
    (answered,) = parse_challenges([challenge.encode()]) if challenge else (Challenge(scheme.name),)
    login_id = LoginId(SPACE, 1)
    authenticator = ConstantAuthenticator(b"")
    return Credentials(login_id, RIGHT, scheme, answered, authenticator, AcceptanceRecord())


@pytest.mark.parametrize(
    ("installed", "offered"),
    [(("ntlm", "basic"), [NTLM, BASIC]), (("basic",), [BASIC]), ((), [NTLM, BASIC])],
)
def test_a_scheme_without_its_library_is_used_only_if_there_is_no_other(
    installed: tuple[str, ...], offered: list[Scheme]
) -> None:
    challenges = parse_challenges([b'Basic realm="Corp", NTLM'])
    offers = reader(*installed).read_offers(challenges, OFFICE_ID, OFFICE)
    assert [offer.scheme for offer in offers] == offered


@pytest.mark.parametrize(
    ("scheme", "verdict", "challenges", "is_final"),
    [
        (NTLM, None, [], False),
        (NTLM, None, [Challenge("ntlm")], False),
        (NTLM, Verdict(VerdictKind.REJECTED), [], True),
        (NTLM, Verdict(VerdictKind.REJECTED), [Challenge("ntlm")], False),
        (SOCKS_SCHEMES[0], None, [socks_challenge()], True),
    ],
)
def test_a_refusal_is_final_if_the_upstream_did_not_refuse_because_of_the_target(
    scheme: Scheme, verdict: Verdict | None, challenges: list[Challenge], is_final: bool
) -> None:
    assert tried_login(credentials(scheme), verdict, challenges).is_final is is_final


@pytest.mark.parametrize(
    ("scheme", "answered", "offered", "is_again"),
    [
        (BASIC, 'Basic realm="Corp"', 'Basic realm="Other"', True),
        (BASIC, 'Basic realm="Corp"', "NTLM", False),
        (BASIC, 'Basic realm="Corp"', "", True),
        (DIGEST, 'Digest realm="Corp", nonce="1"', 'Digest realm="Corp", nonce="2"', True),
        (DIGEST, 'Digest realm="Corp", nonce="1"', 'Digest realm="Other", nonce="2"', False),
        (
            DIGEST,
            'Digest realm="Corp", nonce="1"',
            'Digest realm="Corp", nonce="2", algorithm=SHA-256',
            False,
        ),
        (
            DIGEST,
            'Digest realm="Corp", nonce="1"',
            'Digest realm="Corp", nonce="2", algorithm=SHA-256, Digest realm="Corp", nonce="2"',
            True,
        ),
    ],
)
def test_a_407_offers_the_scheme_of_the_refused_credentials_again(
    scheme: Scheme, answered: str, offered: str, is_again: bool
) -> None:
    challenges = parse_challenges([offered.encode()]) if offered else ()
    assert is_offered_again(credentials(scheme, answered), challenges) is is_again


@pytest.mark.parametrize(
    ("user", "method", "is_usable"),
    [
        ("jdoe", "NTLM", True),
        ("jdoe-admin", "NTLM", False),
        ("jdoe-admin", "Basic", True),
        ("jdoe-admin", "", True),
        ("CORP:jdoe", "Basic", False),
        ("CORP:jdoe", "", False),
    ],
)
def test_a_login_must_be_usable_with_the_scheme_of_the_prompt_or_with_any_scheme(
    user: str, method: str, is_usable: bool
) -> None:
    problem = reader().check_login(Login(user, "x"), OFFICE_ID.upstream, method)
    assert (problem is None) is is_usable
    if problem:
        assert problem.id == "TP-302"
        assert problem.body.endswith(" You can correct it.")


@pytest.mark.parametrize(
    ("profile", "title", "transport"),
    [
        (OFFICE, "Basic", Transport.READABLE),
        (TLS, "Basic", Transport.ENCRYPTED),
        (SOCKS, "SOCKS5", Transport.READABLE),
        (replace(OFFICE, method=Method.DIGEST), "Digest", Transport.SCRAMBLED),
        (replace(OFFICE, method=Method.NEGOTIATE), "Basic", Transport.READABLE),
    ],
)
def test_before_the_first_challenge_the_least_safe_method_is_assumed(
    profile: Profile, title: str, transport: Transport
) -> None:
    method = reader().guess_method(profile)
    assert (method.title, method.transport) == (title, transport)
