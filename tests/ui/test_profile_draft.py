"""Tests for trayproxy.ui.profile_draft."""

from dataclasses import replace

import pytest

from tests.ui.fake_service import LAB, OFFICE
from trayproxy.profiles.profile import Method, ProfileError, ProxyScheme, SignIn, Upstream
from trayproxy.ui.profile_draft import DraftReader, ProfileDraft, draft_from_profile, normalized

DRAFT = draft_from_profile(OFFICE)
PROFILES = OFFICE, LAB


@pytest.mark.parametrize(
    ("typed", "host", "port", "scheme"),
    [
        ("http://proxy.corp.example:8080", "proxy.corp.example", "8080", ProxyScheme.HTTP),
        ("https://proxy:8443", "proxy", "8443", ProxyScheme.HTTPS),
        ("socks5://proxy:1080", "proxy", "1080", ProxyScheme.SOCKS5),
        # Without a scheme in the address, the scheme is unchanged.
        ("proxy:3128", "proxy", "3128", ProxyScheme.SOCKS5),
        ("[::1]:3128", "::1", "3128", ProxyScheme.SOCKS5),
        ("::1", "::1", "", ProxyScheme.SOCKS5),
        ("proxy", "proxy", "", ProxyScheme.SOCKS5),
    ],
)
def test_a_pasted_address_is_split(typed: str, host: str, port: str, scheme: ProxyScheme) -> None:
    draft = normalized(ProfileDraft(name="x", host=typed, scheme=ProxyScheme.SOCKS5))
    assert (draft.host, draft.port, draft.scheme) == (host, port, scheme)


def test_a_profile_becomes_a_draft() -> None:
    assert draft_from_profile(OFFICE) == ProfileDraft(
        "Office", "proxy.corp.example", "8080", SignIn.PASSWORD, "CORP\\jdoe", ""
    )


def test_a_draft_becomes_the_profile() -> None:
    assert DraftReader(DRAFT, OFFICE.id, PROFILES).profile() == OFFICE


def test_a_new_profile_gets_an_id_of_its_own() -> None:
    draft = replace(DRAFT, name="Office 2")
    assert DraftReader(draft, "", PROFILES).profile() == replace(
        OFFICE, id="office-2", name="Office 2"
    )


def test_the_fallbacks_differ_from_the_upstream() -> None:
    draft = replace(DRAFT, fallbacks="b.example:1, http://proxy.corp.example:8080")
    with pytest.raises(ProfileError, match="twice"):
        DraftReader(draft, OFFICE.id, PROFILES).fallbacks()
    # Without an upstream there is nothing to compare with.
    unknown = DraftReader(replace(draft, port=""), OFFICE.id, PROFILES)
    assert unknown.fallbacks() == (Upstream("b.example", 1), OFFICE.upstream)


def test_the_method_must_fit_the_sign_in() -> None:
    reader = DraftReader(replace(DRAFT, sign_in=SignIn.SSO, method=Method.BASIC), "", ())
    with pytest.raises(ProfileError):
        reader.check_method(())
