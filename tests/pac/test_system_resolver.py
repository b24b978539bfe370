"""The look-ups with the functions of the operating system."""

import asyncio
import ipaddress
import socket

import pytest

from trayproxy.pac.system_resolver import SystemResolver


def test_localhost_has_the_loopback_address() -> None:
    async def test() -> tuple[str, ...]:
        return await SystemResolver().resolve("localhost")

    assert "127.0.0.1" in asyncio.run(test())


@pytest.mark.parametrize("name", ["missing.invalid", "a" * 64 + ".invalid", "a..b"])
async def test_a_name_without_addresses_is_an_oserror(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(host: bytes, *_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "unknown name")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    with pytest.raises(OSError, match="unknown name"):
        await SystemResolver().resolve(name)


def test_the_own_addresses_are_addresses_without_loopback() -> None:
    async def test() -> tuple[str, ...]:
        return SystemResolver().own_addresses()

    for address in asyncio.run(test()):
        assert not ipaddress.ip_address(address).is_loopback
