"""Checks of the settings for fixed forwards and other devices."""

import pytest

from trayproxy.profiles.config import MAX_DEVICES, MAX_FORWARDS, Forward, ListenAddress
from trayproxy.profiles.listener_checks import (
    check_device,
    check_devices,
    check_forwards,
    parse_forward,
)
from trayproxy.profiles.profile import ProfileError


@pytest.mark.parametrize(
    ("typed", "checked"),
    [
        (" 10.0.0.7 ", "10.0.0.7"),
        ("10.0.0.7/32", "10.0.0.7"),
        ("192.168.1.7/24", "192.168.1.0/24"),
        ("192.168.1.0/255.255.255.0", "192.168.1.0/24"),
        ("FD00::1/64", "fd00::/64"),
        ("fd00::1", "fd00::1"),
    ],
)
def test_a_device_is_an_address_or_a_network(typed: str, checked: str) -> None:
    assert check_device(typed) == checked


@pytest.mark.parametrize(
    ("typed", "reason"),
    [
        ("", "such as 10.0.0.7"),
        ("printer", "such as 10.0.0.7"),
        ("10.0.0.7/33", "such as 10.0.0.7"),
        ("[fd00::1]", "such as 10.0.0.7"),
        ("0.0.0.0/0", "every address"),
        ("::/0", "every address"),
        ("10.0.0.7/0", "every address"),
    ],
)
def test_other_texts_are_no_device(typed: str, reason: str) -> None:
    with pytest.raises(ProfileError, match=reason):
        check_device(typed)


def test_a_device_is_listed_once_and_the_list_is_limited() -> None:
    assert check_devices(["10.0.0.7", "10.0.0.7/32"]) == ("10.0.0.7",)
    with pytest.raises(ProfileError, match="every address"):
        check_devices(["0.0.0.0/1", "10.0.0.7", "128.0.0.0/1"])
    with pytest.raises(ProfileError, match="at most"):
        check_devices(f"10.0.0.{number}" for number in range(MAX_DEVICES + 1))


@pytest.mark.parametrize(
    ("listen", "to", "forward"),
    [
        ("2222", "git.example:22", ("127.0.0.1", 2222, "git.example", 22)),
        ("localhost:2222", "Git.Example:22", ("127.0.0.1", 2222, "git.example", 22)),
        ("[::1]:2222", "[2001:db8::1]:22", ("::1", 2222, "2001:db8::1", 22)),
        ("192.168.1.2:2222", "10.0.0.1:22", ("192.168.1.2", 2222, "10.0.0.1", 22)),
    ],
)
def test_a_forward_has_two_addresses(listen: str, to: str, forward: tuple[object, ...]) -> None:
    found = parse_forward(listen, to, ("192.168.1.0/24",))
    assert found == Forward(*forward)  # type: ignore[arg-type]
    assert parse_forward(found.address, found.target, ("192.168.1.0/24",)) == found


@pytest.mark.parametrize(
    ("listen", "to", "reason"),
    [
        ("0", "git.example:22", "from 1 to 65535"),
        ("x", "git.example:22", "an address and a port"),
        ("office:2222", "git.example:22", "such as 127.0.0.1"),
        ("192.168.1.2:2222", "git.example:22", "could use your sign-in"),
        ("0.0.0.0:2222", "git.example:22", "could use your sign-in"),
        ("2222", "git.example", "host and the port"),
        ("2222", ":22", "host and the port"),
        ("2222", "git.example:0", "from 1 to 65535"),
        ("2222", "2001:db8::1:22", "brackets"),
        ("2222", "user@git.example:22", "name of a computer"),
    ],
)
def test_a_mistake_in_a_forward_is_explained(listen: str, to: str, reason: str) -> None:
    with pytest.raises(ProfileError, match=reason):
        parse_forward(listen, to)


def test_listeners_have_different_addresses() -> None:
    listen = ListenAddress(port=3128)
    forwards = [Forward("127.0.0.1", port, "git.example", 22) for port in range(1, 4)]
    assert check_forwards(forwards, listen) == tuple(forwards)
    for port in (2, 3128):
        with pytest.raises(ProfileError, match="used twice"):
            check_forwards([*forwards, Forward("127.0.0.1", port, "a", 1)], listen)
    many = [Forward("127.0.0.1", port, "a", 1) for port in range(1, MAX_FORWARDS + 2)]
    with pytest.raises(ProfileError, match="at most"):
        check_forwards(many, listen)
