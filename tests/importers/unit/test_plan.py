"""Tests for trayproxy.importers.plan."""

from dataclasses import replace

import pytest

from trayproxy.importers.found import FoundProfile, Place, Source
from trayproxy.importers.plan import ImportDecision, PlannedProfile, plan, unique_name
from trayproxy.profiles.config import MAX_PROFILES
from trayproxy.profiles.pac_address import parse_pac_source
from trayproxy.profiles.profile import DIRECT_NAME, Method, Profile, SignIn, Upstream

PROXY = Upstream("proxy.corp.example", 8080)
FOUND = FoundProfile(Source.PX, Place("px.ini"), (PROXY,), user="CORP\\jdoe")
OFFICE = Profile("office", "Office", PROXY, user="corp\\JDoe")


def one(found: FoundProfile, *profiles: Profile, skips_loopback: bool = False) -> PlannedProfile:
    [planned] = plan((found,), profiles, {3128}, skips_loopback=skips_loopback)
    return planned


def test_settings_become_a_profile_with_the_name_of_the_proxy() -> None:
    second = Upstream("proxy2.corp.example", 8080)
    found = replace(FOUND, upstreams=(PROXY, second), bypass=("localhost",), method=Method.NTLM)
    assert one(found).profile == Profile(
        "proxy-corp-example",
        "proxy.corp.example",
        PROXY,
        user="CORP\\jdoe",
        bypass=("localhost",),
        fallbacks=(second,),
        method=Method.NTLM,
    )


@pytest.mark.parametrize(
    ("profile", "decision"),
    [
        (OFFICE, ImportDecision.KNOWN),
        (replace(OFFICE, user=""), ImportDecision.KNOWN),
        (replace(OFFICE, bypass=("x",)), ImportDecision.KNOWN),
        (replace(OFFICE, user="other"), ImportDecision.NEW),
        (replace(OFFICE, upstream=Upstream("proxy.corp.example", 8081)), ImportDecision.NEW),
    ],
)
def test_a_profile_that_exists_is_not_added_again(
    profile: Profile, decision: ImportDecision
) -> None:
    assert one(FOUND, profile).decision is decision


def test_the_same_proxy_of_two_programs_is_added_once() -> None:
    first, second = plan((FOUND, replace(FOUND, source=Source.CNTLM, user="")), (), {3128})
    assert (first.decision, second.decision) == (ImportDecision.NEW, ImportDecision.KNOWN)
    assert second.profile == first.profile


def test_names_and_ids_are_unique() -> None:
    taken = Profile("proxy-corp-example", "PROXY.corp.example", Upstream("other", 1))
    made = one(FOUND, taken).profile
    assert made is not None
    assert (made.id, made.name) == ("proxy-corp-example-2", "proxy.corp.example 2")
    assert unique_name(DIRECT_NAME, ()) == f"{DIRECT_NAME} 2"
    assert unique_name("x" * 100, ["x" * 100]) == "x" * 98 + " 2"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "::1"])
def test_trayproxy_never_imports_itself(host: str) -> None:
    planned = one(replace(FOUND, upstreams=(Upstream(host, 3128),)))
    assert (planned.decision, planned.reason) == (
        ImportDecision.REFUSED,
        "This proxy is TrayProxy itself.",
    )


def test_a_proxy_on_this_computer_is_told_or_skipped() -> None:
    found = replace(FOUND, upstreams=(Upstream("127.0.0.1", 3129),))
    planned = one(found)
    assert planned.decision is ImportDecision.NEW
    assert planned.found.notes == (
        "This proxy is a program on this computer. If it is Px, Cntlm or the like, import its "
        "settings instead.",
    )
    assert one(found, skips_loopback=True).decision is ImportDecision.REFUSED


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("http://pac.corp.example/proxy.pac", "pac.corp.example"),
        ("/etc/company.pac", "company.pac"),
        (r"C:\Users\u\company.pac", "company.pac"),
        ("wpad", "Automatic"),
    ],
)
def test_a_pac_script_makes_an_automatic_profile(address: str, name: str) -> None:
    pac = parse_pac_source(address)
    made = one(replace(FOUND, upstreams=(), pac=pac)).profile
    assert made is not None
    assert (made.name, made.upstream, made.pac, made.user) == (name, None, pac, "CORP\\jdoe")
    again = one(replace(FOUND, upstreams=(), pac=pac), made)
    assert again.decision is ImportDecision.KNOWN


def test_the_pac_script_of_a_program_on_this_computer() -> None:
    own = replace(FOUND, upstreams=(), pac=parse_pac_source("http://127.0.0.1:3128/x.pac"))
    assert one(own).reason == "This proxy is TrayProxy itself."
    alpaca = replace(own, pac=parse_pac_source("http://localhost:3129/alpaca.pac"))
    assert one(alpaca, skips_loopback=True).decision is ImportDecision.REFUSED


def test_impossible_settings_are_refused_with_the_reason() -> None:
    planned = one(replace(FOUND, sign_in=SignIn.SSO, method=Method.BASIC))
    assert planned.reason == (
        "Your own sign-in works with the method Automatic, Negotiate or NTLM."
    )
    others = [Profile(f"p{n}", f"P{n}", Upstream("p", n + 1)) for n in range(MAX_PROFILES)]
    full = one(FOUND, *others)
    assert full.reason == f"There are already {MAX_PROFILES} profiles. Delete one first."


def test_an_exported_profile_is_kept_whole() -> None:
    exported = replace(OFFICE, ca_file="/etc/ca.pem", bypass=("x",))
    found = FoundProfile(Source.EXPORT, Place("f"), (PROXY,), exported=exported)
    assert one(found).profile == exported
    assert one(found, replace(exported, id="o2", name="Other")).decision is ImportDecision.KNOWN
    # The same proxy with other settings is another profile: nothing is lost.
    assert one(found, OFFICE).profile == replace(exported, id="office-2", name="Office 2")
