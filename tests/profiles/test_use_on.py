"""Tests for trayproxy.profiles.use_on, and for its keys in the settings file."""

from dataclasses import replace

import pytest

from tests.support.values import OFFICE
from trayproxy.profiles.config import Config
from trayproxy.profiles.consistency import check_profile
from trayproxy.profiles.document import parse_settings, rewrite_settings
from trayproxy.profiles.profile import ProfileError
from trayproxy.profiles.use_on import MAX_CONDITIONS, check_conditions, parse_condition
from trayproxy.profiles.validate import parse_use_on


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("wifi:Branch-*", "wifi:Branch-*"),
        (" WiFi : Café Zürich 2 ", "wifi:Café Zürich 2"),
        ("wifi:a:b", "wifi:a:b"),
        ("gateway:10.1.0.1", "gateway:10.1.0.1"),
        ("gateway:10.1.0.7/16", "gateway:10.1.0.0/16"),
        ("gateway:[FE80::1]", "gateway:fe80::1"),
        ("gateway:02-00-5E-10-00-01", "gateway:02:00:5e:10:00:01"),
        ("dns:Corp.Example.", "dns:corp.example"),
        ("dns:.corp.example", "dns:corp.example"),
        ("vpn:tun*", "vpn:tun*"),
        ("answers", "answers"),
        ("Answers", "answers"),
    ],
)
def test_a_condition_has_one_form(text: str, canonical: str) -> None:
    assert str(parse_condition(text)) == canonical
    assert str(parse_condition(canonical)) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "wifi",
        "wifi:",
        "Branch",
        "ssid:Branch",
        "answers:yes",
        "wifi:a,b",
        "wifi:a\nb",
        "wifi:a\u202eb",
        "wifi:" + "x" * 256,
        "gateway:10.1",
        "gateway:router",
        "gateway:10.1.0.1/99",
        "gateway:02:00",
        "dns:two words",
        "dns:a..b",
        "dns:.",
    ],
)
def test_a_mistake_is_refused_with_the_right_form(text: str) -> None:
    with pytest.raises(ProfileError, match=r"^Write .+\.$"):
        parse_condition(text)


def test_conditions_are_separated_by_commas_and_kept_once() -> None:
    text = "wifi:Branch Office, answers ,, dns:corp.example,DNS:corp.example."
    assert parse_use_on(text) == ("wifi:Branch Office", "answers", "dns:corp.example")
    assert parse_use_on(" ") == ()
    with pytest.raises(ProfileError, match="at most"):
        check_conditions([f"wifi:{number}" for number in range(MAX_CONDITIONS + 1)])


def test_a_checked_profile_has_canonical_conditions() -> None:
    profile = replace(OFFICE, use_on=("DNS:Corp.Example", "vpn:*"))
    assert check_profile(profile).use_on == ("dns:corp.example", "vpn:*")
    with pytest.raises(ProfileError):
        check_profile(replace(OFFICE, use_on=("corp.example",)))


def test_the_settings_keep_the_notation_of_the_user() -> None:
    config = Config().with_profile(replace(OFFICE, use_on=("answers",), else_direct=True))
    text = rewrite_settings("", config)
    assert 'use_on = ["answers"]\nelse_direct = true\n' in text
    assert parse_settings(text) == config
    assert "use_on" not in rewrite_settings("", Config().with_profile(OFFICE))
    typed = text.replace('["answers"]', '["DNS:Corp.Example."]  # the office')
    read = parse_settings(typed)
    assert read.profiles[0].use_on == ("dns:corp.example",)
    again = rewrite_settings(typed, replace(read, active=""))
    assert '["DNS:Corp.Example."]  # the office' in again
