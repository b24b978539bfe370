"""Tests for trayproxy.ui.profile_draft."""

from dataclasses import replace

import pytest

from tests.ui.fake_service import LAB, OFFICE
from trayproxy.profiles.pac_source import PacKind, PacSource
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


FILE = PacSource(PacKind.FILE, "/etc/company.pac")
AUTOMATIC = replace(
    OFFICE,
    upstream=None,
    pac=FILE,
    rules=("*.lab.example -> direct",),
    use_on=("gateway:192.0.2.1",),
    else_direct=True,
    shared_sign_in=("*.proxy.corp.example:8080",),
)


@pytest.mark.parametrize(
    ("typed", "source"),
    [
        ("http://pac.example/proxy.pac", PacSource(PacKind.URL, "http://pac.example/proxy.pac")),
        (" pac.example/proxy.pac ", PacSource(PacKind.URL, "http://pac.example/proxy.pac")),
        ("https://pac.example/?user=7", PacSource(PacKind.URL, "https://pac.example/?user=7")),
        ("/etc/company.pac", FILE),
        ("file:///etc/company.pac", FILE),
        ("system", PacSource(PacKind.SYSTEM)),
        ("WPAD", PacSource(PacKind.WPAD)),
    ],
)
def test_a_pasted_pac_address_makes_the_profile_automatic(typed: str, source: PacSource) -> None:
    # The port of the proxy before is left in its field, which is hidden then.
    port = "" if source.kind in (PacKind.SYSTEM, PacKind.WPAD) else "8080"
    draft = normalized(ProfileDraft(host=typed, port=port))
    assert (draft.is_automatic, draft.name, draft.port) == (True, "Automatic", "")
    reader = DraftReader(draft, "", PROFILES)
    reader.check_address()
    reader.check_port()
    profile = reader.profile()
    assert (profile.upstream, profile.pac, profile.name) == (None, source, "Automatic")


@pytest.mark.parametrize("host", ["system", "wpad", "proxy.dat", "proxy.pac"])
def test_a_proxy_with_such_a_name_is_no_pac_address(host: str) -> None:
    profile = replace(OFFICE, upstream=Upstream(host, 8080))
    draft = normalized(draft_from_profile(profile))
    assert not draft.is_automatic
    assert DraftReader(draft, OFFICE.id, (profile, LAB)).profile() == profile


def test_an_automatic_profile_keeps_what_the_form_does_not_show() -> None:
    draft = normalized(draft_from_profile(AUTOMATIC))
    assert DraftReader(draft, OFFICE.id, (AUTOMATIC, LAB)).profile() == AUTOMATIC
    fixed = normalized(replace(draft, host="proxy.corp.example:8080"))
    assert DraftReader(fixed, OFFICE.id, (AUTOMATIC, LAB)).profile() == replace(
        AUTOMATIC, pac=None, upstream=OFFICE.upstream
    )


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("http://me:secret@pac.example/proxy.pac", "Leave the user name and the password out"),
        ("ftp://pac.example/proxy.pac", "not the name of a computer"),
        ("file:company.pac", "Write the full path"),
        ("data:no-comma", "comma before the script"),
    ],
)
def test_an_invalid_pac_address_gets_a_reason_that_quotes_no_password(
    typed: str, reason: str
) -> None:
    with pytest.raises(ProfileError, match=reason) as refused:
        DraftReader(normalized(ProfileDraft(host=typed)), "", ()).check_address()
    assert "secret" not in str(refused.value)


def test_a_pac_address_allows_no_fallbacks() -> None:
    draft = replace(draft_from_profile(AUTOMATIC), fallbacks="b.example:1")
    with pytest.raises(ProfileError, match="the script names all proxies"):
        DraftReader(draft, OFFICE.id, PROFILES).fallbacks()


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
