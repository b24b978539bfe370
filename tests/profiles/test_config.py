"""Tests for trayproxy.profiles.config."""

from dataclasses import replace

import pytest

from tests.support.values import LAB, OFFICE
from trayproxy.profiles.config import Config, ListenAddress
from trayproxy.profiles.profile import DIRECT_ID, Profile, ProfileError

BOTH = Config().with_profile(OFFICE).with_profile(LAB)


def test_the_first_profile_becomes_active() -> None:
    assert BOTH.profile == OFFICE
    assert BOTH.profiles == (OFFICE, LAB)


def test_a_changed_profile_keeps_its_position() -> None:
    renamed = replace(OFFICE, name="Head office")
    assert BOTH.with_profile(renamed).profiles == (renamed, LAB)


def test_two_profiles_cannot_have_the_same_name() -> None:
    with pytest.raises(ProfileError, match="already"):
        BOTH.with_profile(replace(LAB, name="oFFICE"))
    with pytest.raises(ProfileError, match="already"):
        BOTH.with_profile(replace(OFFICE, id="other"))


def test_removing_the_active_profile_makes_no_other_active() -> None:
    assert BOTH.without_profile("office") == Config(profiles=(LAB,))
    assert BOTH.without_profile("lab").active == "office"
    assert BOTH.without_profile("none") == BOTH


def test_connecting_directly_is_selected_like_a_profile() -> None:
    direct = BOTH.with_active(DIRECT_ID)
    assert direct.is_direct
    assert direct.profile is None
    assert not direct.with_active("lab").is_direct
    assert not Config().is_direct  # Without a choice of the user, no request is sent directly.
    assert direct.without_profile("office").is_direct
    assert direct.with_profile(replace(LAB, id="third", name="Third")).is_direct


def test_the_profile_before_connecting_directly_is_remembered() -> None:
    direct = BOTH.with_active(DIRECT_ID)
    assert direct.previous_profile() == OFFICE
    assert direct.with_active(DIRECT_ID).previous_profile() == OFFICE
    assert direct.with_active("lab").previous == ""
    for config in (direct.without_profile("office"), Config().with_active(DIRECT_ID), BOTH):
        with pytest.raises(ProfileError, match="no earlier profile"):
            config.previous_profile()


def test_only_an_existing_profile_can_become_active() -> None:
    assert BOTH.with_active("lab").profile == LAB
    with pytest.raises(ProfileError):
        BOTH.with_active("none")


def test_a_profile_is_found_by_name_or_id() -> None:
    renamed = BOTH.with_profile(replace(OFFICE, name="Köln"))
    assert renamed.find("kÖLN ") == renamed.find("office") == renamed.profiles[0]
    assert renamed.find("none") is None


def test_a_name_has_precedence_over_an_id() -> None:
    other = Profile("x", "Office", LAB.upstream)
    config = BOTH.with_profile(replace(OFFICE, name="Lab 1")).with_profile(other)
    assert config.find("office") == other


def test_an_ipv6_address_is_shown_in_brackets() -> None:
    assert str(ListenAddress()) == "127.0.0.1:3128"
    assert str(ListenAddress("::1", 80)) == "[::1]:80"
