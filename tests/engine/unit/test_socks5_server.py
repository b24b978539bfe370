"""The dialogue with a SOCKS5 client as data, without a socket."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trayproxy.engine.net.socks5_server import (
    SocksRefusedError,
    SocksReply,
    VerifyLogin,
    read_target,
    write_reply,
)

GREETING = b"\x05\x01\x00"
NAME = b"\x03\x0bexample.com"


def play(octets: bytes, verify: VerifyLogin | None = None) -> tuple[str, bytes, bytes]:
    """Return the target, the octets sent to the client, and the octets left unread.

    The target is "incomplete" if the client stops in the middle of its request, and the reason of a
    refusal, followed by the reply, if the client is refused.
    """
    dialogue = read_target(verify)
    sent = b""
    try:
        step = next(dialogue)
        while True:
            sent += step.send
            if len(octets) < step.read:
                return "incomplete", sent, octets
            read, octets = octets[: step.read], octets[step.read :]
            step = dialogue.send(read)
    except StopIteration as stop:
        return str(stop.value), sent, octets
    except SocksRefusedError as error:
        return str(error), sent + error.reply, octets


@pytest.mark.parametrize(
    ("address", "target"),
    [
        (NAME + b"\x01\xbb", "example.com:443"),
        (b"\x03\x0bEXAMPLE.com\x00\x50", "example.com:80"),
        (b"\x01\xc0\x00\x02\x01\x00\x16", "192.0.2.1:22"),
        (b"\x04\x20\x01\x0d\xb8" + bytes(11) + b"\x01\xff\xff", "[2001:db8::1]:65535"),
        (b"\x03\x032::\x00\x16", "[2::]:22"),
        (b"\x03\x09192.0.2.1\x00\x16", "192.0.2.1:22"),
    ],
)
def test_a_target_is_a_name_or_an_address(address: bytes, target: str) -> None:
    assert play(GREETING + b"\x05\x01\x00" + address) == (target, b"\x05\x00", b"")


def test_data_sent_ahead_stays_unread() -> None:
    octets = GREETING + b"\x05\x01\x00" + NAME + b"\x01\xbbSSH-2.0"
    assert play(octets)[2] == b"SSH-2.0"


def test_no_authentication_is_chosen_among_other_methods() -> None:
    assert play(b"\x05\x03\x02\x01\x00")[1] == b"\x05\x00"


@pytest.mark.parametrize("end", range(len(GREETING + b"\x05\x01\x00" + NAME + b"\x01\xbb")))
def test_every_part_of_a_request_is_incomplete(end: int) -> None:
    assert play((GREETING + b"\x05\x01\x00" + NAME + b"\x01\xbb")[:end])[0] == "incomplete"


@pytest.mark.parametrize(
    ("octets", "reply", "reason"),
    [
        (b"\x05\x00", b"\x05\xff", "does not offer no authentication"),
        (b"\x05\x01\x02", b"\x05\xff", "does not offer no authentication"),
        (b"\x05\x01\x00\x04\x01\x00\x01", b"\x05\x00\x05\x01", "not one of SOCKS5"),
        (GREETING + b"\x05\x02\x00" + NAME + b"\x00\x50", b"\x05\x00\x05\x07", "BIND or UDP"),
        (GREETING + b"\x05\x03\x00" + NAME + b"\x00\x00", b"\x05\x00\x05\x01", "port"),
        (GREETING + b"\x05\x03\x00" + NAME + b"\x00\x50", b"\x05\x00\x05\x07", "BIND or UDP"),
        (GREETING + b"\x05\x01\x00\x02", b"\x05\x00\x05\x08", "unknown type"),
        (GREETING + b"\x05\x01\x00\x03\x00\x00\x50", b"\x05\x00\x05\x01", "host"),
        (GREETING + b"\x05\x01\x00\x03\x03a b\x00\x50", b"\x05\x00\x05\x01", "invalid"),
        (GREETING + b"\x05\x01\x00\x03\x04a:80\x00\x50", b"\x05\x00\x05\x01", "invalid"),
        (GREETING + b"\x05\x01\x00\x03\x02\xc3\xa4\x00\x50", b"\x05\x00\x05\x01", "invalid"),
        (GREETING + b"\x05\x01\x00\x03\x03a\r\n\x00\x50", b"\x05\x00\x05\x01", "invalid"),
    ],
)
def test_a_refusal_has_a_reply_and_a_reason(octets: bytes, reply: bytes, reason: str) -> None:
    told, sent, _ = play(octets)
    assert reason in told
    assert sent.startswith(reply)
    assert len(sent) in (2, 12)


LOGIN = b"\x01\x04user\x04pass"


def verify(user: bytes, password: bytes) -> bool:
    return (user, password) == (b"user", b"pass")


def test_a_listener_with_a_password_requires_it() -> None:
    octets = b"\x05\x02\x00\x02" + LOGIN + b"\x05\x01\x00" + NAME + b"\x01\xbb"
    assert play(octets, verify) == ("example.com:443", b"\x05\x02\x01\x00", b"")
    assert play(GREETING, verify)[1] == b"\x05\xff"
    assert play(b"\x05\x01\x02" + LOGIN.replace(b"pass", b"past"), verify)[:2] == (
        "its password is wrong",
        b"\x05\x02\x01\x01",
    )
    assert play(b"\x05\x01\x02\x05\x00", verify)[1] == b"\x05\x02\x01\x01"


@given(st.binary(max_size=300), st.booleans())
def test_no_octets_break_the_dialogue(octets: bytes, needs_login: bool) -> None:
    told, sent, left = play(b"\x05" + octets, verify if needs_login else None)
    assert told
    assert len(sent) <= 14
    assert octets.endswith(left) or told == "incomplete"


def test_a_reply_names_no_address() -> None:
    assert write_reply(SocksReply.SUCCEEDED) == b"\x05\x00\x00\x01" + bytes(6)
