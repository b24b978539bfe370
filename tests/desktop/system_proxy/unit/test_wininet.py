"""The memory layout and the calls of WinINET and RAS, with replacements of the functions."""

import ctypes
from typing import Any

import pytest

from trayproxy.desktop.system_proxy.wininet import (
    BYPASS,
    FLAGS,
    FLAGS_UI,
    SCRIPT,
    SERVER,
    ConnectionSettings,
    Libraries,
    Option,
    OptionList,
    RasEntry,
    WinInet,
)
from trayproxy.system_settings.entries import TargetError


class FakeWinInetLibraries:
    """The functions of Windows; `texts` and `flags` are the settings of the LAN connection."""

    def __init__(self) -> None:
        self.flags = {FLAGS: 1, FLAGS_UI: 9}
        self.texts: dict[int, str | None] = {SERVER: "proxy:8080", BYPASS: None, SCRIPT: ""}
        self.connections: list[str | None] = []
        self.notifications: list[int] = []
        self.refused: set[int] = set()
        self.ras: list[str] = []
        self.ras_code = 0
        self._memory: dict[int, Any] = {}
        self.freed: list[int] = []

    @property
    def libraries(self) -> Libraries:
        return Libraries(self.query, self.set, self.free, self.enumerate_ras, lambda: 87)

    def query(self, handle: None, option: int, request: Any, size: Any) -> int:
        assert (option, size._obj.value) == (75, ctypes.sizeof(OptionList))
        options = self._options(request)
        if any(option.option in self.refused for option in options):
            return 0
        for option_ in options:
            if option_.option in self.flags:
                option_.value.number = self.flags[option_.option]
                continue
            text = self.texts[option_.option]
            if text is not None:
                buffer = ctypes.create_unicode_buffer(text)
                option_.value.text = ctypes.addressof(buffer)
                self._memory[ctypes.addressof(buffer)] = buffer
        return 1

    def set(self, handle: None, option: int, request: Any, size: int) -> int:
        if request is None:
            self.notifications.append(option)
            return 1
        assert (option, size) == (75, ctypes.sizeof(OptionList))
        for option_ in self._options(request):
            if option_.option in self.refused:
                return 0
            if option_.option == FLAGS:
                self.flags = {FLAGS: option_.value.number, FLAGS_UI: option_.value.number}
            else:
                address = option_.value.text
                self.texts[option_.option] = ctypes.wstring_at(address) if address else None
        return 1

    def free(self, address: Any) -> None:
        self.freed.append(address.value)
        del self._memory[address.value]

    def enumerate_ras(self, *arguments: Any) -> int:
        _, _, entries, size, count = arguments
        needed = len(self.ras) * ctypes.sizeof(RasEntry)
        if self.ras_code or size._obj.value < needed:
            size._obj.value = needed
            return self.ras_code or 603
        assert entries[0].size == ctypes.sizeof(RasEntry)
        for entry, name in zip(entries, self.ras, strict=False):
            entry.name = name
        count._obj.value = len(self.ras)
        return 0

    def _options(self, request: Any) -> list[Option]:
        found: OptionList = request._obj
        assert found.size == ctypes.sizeof(OptionList)
        self.connections.append(found.connection)
        return [found.options[index] for index in range(found.count)]


@pytest.fixture
def windows() -> FakeWinInetLibraries:
    return FakeWinInetLibraries()


@pytest.fixture
def wininet(windows: FakeWinInetLibraries) -> WinInet:
    return WinInet(windows.libraries)


@pytest.mark.skipif(ctypes.sizeof(ctypes.c_void_p) != 8, reason="the sizes of 64-bit Windows")
def test_the_structures_have_the_sizes_of_the_headers() -> None:
    assert ctypes.sizeof(Option) == 16
    assert ctypes.sizeof(OptionList) == 32


def test_settings_are_read_as_the_user_sees_them(
    windows: FakeWinInetLibraries, wininet: WinInet
) -> None:
    assert wininet.read("") == ConnectionSettings(9, "proxy:8080", None, None)
    assert windows.connections == [None]


def test_the_memory_of_texts_is_freed(windows: FakeWinInetLibraries, wininet: WinInet) -> None:
    wininet.read("")
    assert len(windows.freed) == 2


def test_an_old_windows_is_asked_for_the_flags_in_use(
    windows: FakeWinInetLibraries, wininet: WinInet
) -> None:
    windows.refused.add(FLAGS_UI)
    assert wininet.read("VPN").flags == 1
    assert windows.connections == ["VPN", "VPN"]


def test_a_refused_request_is_an_error(windows: FakeWinInetLibraries, wininet: WinInet) -> None:
    windows.refused |= {FLAGS, FLAGS_UI}
    with pytest.raises(TargetError, match="InternetQueryOption: error 87"):
        wininet.read("")
    with pytest.raises(TargetError, match="InternetSetOption: error 87"):
        wininet.write("", {FLAGS: 1})


def test_settings_are_written_in_one_call(windows: FakeWinInetLibraries, wininet: WinInet) -> None:
    wininet.write("VPN", {SERVER: "127.0.0.1:3128", BYPASS: "ü;[::1]", SCRIPT: None, FLAGS: 3})
    assert windows.connections == ["VPN"]
    assert windows.texts == {SERVER: "127.0.0.1:3128", BYPASS: "ü;[::1]", SCRIPT: None}
    assert wininet.read("VPN").flags == 3


def test_programs_are_notified(windows: FakeWinInetLibraries, wininet: WinInet) -> None:
    wininet.notify()
    assert windows.notifications == [39, 95, 37]


@pytest.mark.parametrize("names", [[], ["VPN"], ["VPN", "Büro", "Modem"]])
def test_the_connections_of_the_phone_books(
    windows: FakeWinInetLibraries, wininet: WinInet, names: list[str]
) -> None:
    windows.ras = names
    assert wininet.ras_connections() == tuple(names)


def test_a_failure_of_ras_means_no_connections(
    windows: FakeWinInetLibraries, wininet: WinInet
) -> None:
    windows.ras_code = 632
    assert wininet.ras_connections() == ()
