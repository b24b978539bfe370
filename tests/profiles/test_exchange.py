"""Tests for trayproxy.profiles.exchange."""

from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayproxy.profiles.consistency import check_profile
from trayproxy.profiles.document import InvalidSettingsError, NewerSchemaError
from trayproxy.profiles.exchange import export_profiles, import_profiles
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.profiles.profile import (
    Encoding,
    Method,
    Profile,
    ProfileError,
    ProxyScheme,
    SignIn,
    Upstream,
)

OFFICE = Profile("office", "Office", Upstream("proxy.example", 8080), user="CORP\\jdoe")

UPSTREAMS = st.builds(
    Upstream,
    st.sampled_from(["a.example", "10.0.0.1", "fd00::1"]),
    st.integers(1, 65535),
    st.sampled_from(ProxyScheme),
)
TEXTS = st.text(st.characters(categories=("L", "N", "P", "S", "Zs")), max_size=20)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "id": st.from_regex("[a-z0-9][a-z0-9-]{0,9}", fullmatch=True),
    "name": TEXTS,
    "upstream": UPSTREAMS,
    "sign_in": st.sampled_from(SignIn),
    "user": TEXTS,
    "bypass": st.lists(st.sampled_from(["localhost", "*.lab", "10.0.0.0/8"])).map(tuple),
    "fallbacks": st.lists(UPSTREAMS, max_size=3).map(tuple),
    "ca_file": st.sampled_from(["", "/etc/ca.pem", 'C:\\ca "1".pem']),
    "method": st.sampled_from(Method),
    "encoding": st.sampled_from(Encoding),
    "spn": st.sampled_from(["", "HTTP/proxy.corp.example"]),
    "canonical_name": st.booleans(),
    "get_ticket": st.booleans(),
    "client_certificate": st.sampled_from(["", "/home/jd/jd.p12", "/etc/jd.pem"]),
    "client_key": st.sampled_from(["", "/etc/jd.key"]),
    "rules": st.lists(
        st.sampled_from(
            ["*.lab -> direct", "*:25 -> block", "program:git -> socks5://s.example:1080"]
        ),
        unique=True,
    ).map(tuple),
    "use_on": st.lists(
        st.sampled_from(["wifi:Branch-*", "dns:corp.example", "answers"]), unique=True
    ).map(tuple),
    "else_direct": st.booleans(),
    "pac": st.none()
    | st.sampled_from([PacSource(PacKind.WPAD), PacSource(PacKind.FILE, "/x.pac")]),
    "shared_sign_in": st.lists(
        st.sampled_from(["*.proxy.example:8080", "a.example:3128"]), unique=True
    ).map(tuple),
}
"""Values for each attribute of a profile."""


@st.composite
def valid_profiles(draw: st.DrawFn) -> Profile:
    profile = OFFICE
    for name, values in VALUES.items():
        with suppress(ProfileError):
            changes = {name: draw(values)}
            if changes.get("pac") is not None:
                changes |= {"upstream": None, "fallbacks": ()}
            profile = check_profile(replace(profile, **changes))
    return profile


def unique(profiles: list[Profile]) -> tuple[Profile, ...]:
    by_id = {profile.id: profile for profile in profiles}
    return tuple({profile.name.casefold(): profile for profile in by_id.values()}.values())


def test_the_values_cover_all_attributes() -> None:
    assert VALUES.keys() == {field.name for field in fields(Profile)}


@given(st.lists(valid_profiles(), max_size=3).map(unique))
def test_exported_profiles_are_imported_as_they_were(profiles: tuple[Profile, ...]) -> None:
    imported = import_profiles(export_profiles(profiles))
    assert (imported.profiles, imported.unknown) == (profiles, ())


def test_the_file_names_no_user_if_that_is_wanted() -> None:
    text = export_profiles([OFFICE], with_user_names=False)
    assert "jdoe" not in text
    assert import_profiles(text).profiles == (replace(OFFICE, user=""),)


def test_the_file_says_what_it_is() -> None:
    assert export_profiles([OFFICE]).startswith(
        "# Profiles of TrayProxy. Passwords are not here.\n"
        "# Import the profiles on another computer: trayproxy profiles import FILE\nschema = 1\n"
    )


def test_unknown_keys_are_named() -> None:
    text = export_profiles([OFFICE]).replace("schema = 1", "schema = 1\ncolour = 1")
    text += 'mood = "good"\nmethod = "automatic"\n\n[listen]\nport = 4000\n'
    imported = import_profiles(text)
    assert imported.profiles == (OFFICE,)
    assert imported.unknown == ("colour", "listen", "mood of “Office”")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('password = "x"', "passwords are not kept here"),
        ("fallbacks = 1", "fallbacks is a list"),
        ("=", "invalid"),
    ],
)
def test_an_invalid_file_is_refused_with_its_line(line: str, reason: str) -> None:
    text = export_profiles([OFFICE])
    with pytest.raises(InvalidSettingsError) as refused:
        import_profiles(f"{text}{line}\n")
    assert reason in refused.value.reason
    assert refused.value.line == text.count("\n") + 1


def test_a_file_of_a_newer_version_is_refused() -> None:
    with pytest.raises(NewerSchemaError):
        import_profiles(export_profiles([OFFICE]).replace("schema = 1", "schema = 2"))
