"""Tests for trayproxy.desktop.system_proxy_change."""

import os
import queue
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.desktop.timer_loops import ThreadsafeTimerLoop
from tests.support.process_output import PATIENCE
from trayproxy.desktop.config_home import config_home
from trayproxy.desktop.system_proxy_change import linux, macos, windows
from trayproxy.desktop.system_proxy_change.base import NullSystemProxyWatch
from trayproxy.desktop.system_proxy_change.factory import watch_system_proxy

# --- everywhere ----------------------------------------------------------------------------------


async def test_a_system_without_reports_gets_the_null_watch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError("a sandbox")

    monkeypatch.setattr(linux, "LinuxSystemProxyWatch", refuse)
    monkeypatch.setattr(windows, "WindowsSystemProxyWatch", refuse)
    monkeypatch.setattr(macos, "MacSystemProxyWatch", refuse)
    found = watch_system_proxy(lambda: None)
    assert isinstance(found, NullSystemProxyWatch)
    found.close()


# --- Linux ---------------------------------------------------------------------------------------


def event(watch: int, mask: int, name: bytes, length: int) -> bytes:
    """Return a ``struct inotify_event`` with a name that is padded with zeros (inotify(7))."""
    return struct.pack("iIII", watch, mask, 0, length) + name.ljust(length, b"\0")


@pytest.mark.parametrize(
    ("octets", "events"),
    [
        (b"", []),
        (event(1, 0x80, b"user", 16), [(1, 0x80, "user")]),
        # A name that fills its field, as far as the last zero.
        (event(2, 0x8, b"kioslaverc.lock", 16), [(2, 0x8, "kioslaverc.lock")]),
        # No name: the watched folder itself was deleted; the queue has overflowed.
        (event(3, 0x8000, b"", 0), [(3, 0x8000, "")]),
        (event(-1, 0x4000, b"", 0), [(-1, 0x4000, "")]),
        (
            event(1, 0x200, b"user", 16) + event(2, 0x80, b"kioslaverc", 32) + event(1, 8, b"", 0),
            [(1, 0x200, "user"), (2, 0x80, "kioslaverc"), (1, 8, "")],
        ),
    ],
)
def test_events_of_inotify_are_parsed(octets: bytes, events: list[tuple[int, int, str]]) -> None:
    assert linux.parse_events(octets) == events


@pytest.mark.unix  # Windows decodes such names differently.
def test_a_name_in_another_encoding_is_parsed() -> None:
    name = b"k\xe4se"
    ((_, _, found),) = linux.parse_events(event(1, 0x80, name, 16))
    assert found == os.fsdecode(name)


def test_a_truncated_event_raises_no_error() -> None:
    whole = event(1, 0x80, b"user", 16)
    first = {length: linux.parse_events(whole + whole[:length])[0] for length in range(1, 32)}
    assert first == dict.fromkeys(range(1, 32), (1, 0x80, "user"))


@pytest.mark.parametrize("value", [None, "", "relative/path"])
def test_without_a_folder_of_configuration_files_the_default_is_used(value: str | None) -> None:
    environ = {} if value is None else {"XDG_CONFIG_HOME": value}
    assert config_home(environ) == Path.home() / ".config"


# --- Windows -------------------------------------------------------------------------------------


class FakeRegistryLibraries:
    """The called functions of advapi32 and kernel32, with a key and two events.

    Attributes:
        failures: The result of a function instead of its success.
        opened: The open handles.
        wanted: The number of requests for a notification; each is used up by one change.
    """

    KEY, STOP, CHANGE = 11, 21, 22

    def __init__(self, **failures: int) -> None:
        self.failures = failures
        self.opened: list[int] = []
        self.wanted = 0
        self._signals: queue.Queue[int] = queue.Queue()

    def watch(self, loop: ThreadsafeTimerLoop, reports: list[str]) -> Any:
        return windows.WindowsSystemProxyWatch(
            loop,  # type: ignore[arg-type]  # only timers and calls are used
            lambda: reports.append("changed"),
            windows.RegistryLibraries(self, self),
        )

    def change(self) -> None:
        """Change a value of the key, as another program does."""
        if self.wanted:
            self.wanted -= 1
            self._signals.put(self.CHANGE)

    def signal(self, event: int) -> None:
        self._signals.put(event)

    def RegOpenKeyExW(  # noqa: N802  # its own name
        self, root: int, name: str, options: int, access: int, key: Any
    ) -> int:
        assert root & 0xFFFFFFFF == 0x80000001
        assert name.endswith(r"\Internet Settings")
        assert (options, access) == (0, 0x10)
        code = self.failures.get("RegOpenKeyExW", 0)
        if not code:
            key._obj.value = self.KEY
            self.opened.append(self.KEY)
        return code

    def RegCloseKey(self, key: Any) -> int:  # noqa: N802
        self.opened.remove(key.value)
        return 0

    def CreateEventW(self, security: None, manual: bool, state: bool, name: None) -> int:  # noqa: N802
        assert (manual, state) == (False, False)
        event = self.CHANGE if self.STOP in self.opened else self.STOP
        if self.failures.get("CreateEventW") == event:
            return 0
        self.opened.append(event)
        return event

    def CloseHandle(self, event: int) -> int:  # noqa: N802
        self.opened.remove(event)
        return 1

    def SetEvent(self, event: int) -> int:
        assert event in self.opened
        self._signals.put(event)
        return 1

    def RegNotifyChangeKeyValue(  # noqa: N802
        self, key: Any, subtree: bool, changes: int, event: int, asynchronous: bool
    ) -> int:
        assert (key.value, event) == (self.KEY, self.CHANGE)
        assert subtree
        assert asynchronous
        assert changes & 0xFF == 0x5
        code = self.failures.get("RegNotifyChangeKeyValue", 0)
        if not code:
            self.wanted += 1
        return code

    def WaitForMultipleObjects(  # noqa: N802
        self, count: int, handles: Any, for_all: bool, timeout: int
    ) -> int:
        assert (list(handles), for_all, timeout) == ([self.STOP, self.CHANGE], False, 0xFFFFFFFF)
        event = self._signals.get(timeout=PATIENCE)
        return handles[:].index(event) if event in handles[:] else 0xFFFFFFFF


def test_windows_reports_changes_of_the_registry() -> None:
    libraries, loop, reports = FakeRegistryLibraries(), ThreadsafeTimerLoop(), list[str]()
    watch = libraries.watch(loop, reports)
    for count in (1, 2):
        libraries.change()
        loop.run_call()
        loop.run_timer()
        assert reports == ["changed"] * count
    watch.close()
    assert libraries.opened == []


def test_windows_requests_the_next_notification_before_the_report(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    libraries, loop = FakeRegistryLibraries(), ThreadsafeTimerLoop()
    wanted: list[int] = []
    monkeypatch.setattr(loop, "call_soon_threadsafe", lambda _: wanted.append(libraries.wanted))
    watch = libraries.watch(loop, [])
    libraries.change()
    # The queue of the fake keeps the order: the thread has reported the change before it stops.
    watch.close()
    assert wanted == [1]


@pytest.mark.parametrize(
    ("failures", "message"),
    [
        ({"RegOpenKeyExW": 2}, "RegOpenKeyEx: error 2"),
        ({"CreateEventW": FakeRegistryLibraries.STOP}, "CreateEvent"),
        ({"CreateEventW": FakeRegistryLibraries.CHANGE}, "CreateEvent"),
        ({"RegNotifyChangeKeyValue": 5}, "RegNotifyChangeKeyValue: error 5"),
    ],
)
def test_a_watch_that_windows_refuses_is_an_error(failures: dict[str, int], message: str) -> None:
    libraries = FakeRegistryLibraries(**failures)
    with pytest.raises(OSError, match=message):
        libraries.watch(ThreadsafeTimerLoop(), [])
    assert libraries.opened == []


def test_after_the_end_of_notifications_windows_reports_once_more() -> None:
    libraries, loop, reports = FakeRegistryLibraries(), ThreadsafeTimerLoop(), list[str]()
    watch = libraries.watch(loop, reports)
    # The key was deleted.
    libraries.failures = {"RegNotifyChangeKeyValue": 1018}
    libraries.change()
    loop.run_call()
    loop.run_timer()
    assert reports == ["changed"]
    watch.close()
    assert libraries.opened == []


def test_after_a_failed_wait_windows_waits_no_more() -> None:
    libraries, loop = FakeRegistryLibraries(), ThreadsafeTimerLoop()
    watch = libraries.watch(loop, [])
    libraries.signal(-1)
    loop.run_call()
    watch.close()
    assert not loop.has_calls
    assert libraries.opened == []


# --- macOS ---------------------------------------------------------------------------------------


class FakeStoreFrameworks:
    """The called functions of CoreFoundation and SystemConfiguration, with a run loop.

    Attributes:
        failing: The name of a function that fails.
        objects: The objects that exist, by their addresses.
    """

    CALLBACKS, MODE, RUN_LOOP = 1, 2, 3

    def __init__(self, failing: str = "") -> None:
        self.failing = failing
        self.objects: dict[int, Any] = {}
        self.sources: list[int] = []
        self.watched: tuple[Any, Any] | None = None
        self.callback: Any = None
        self.is_running = False
        self._signals: queue.Queue[int] = queue.Queue()
        self._addresses = iter(range(0x1000, 0x2000))
        self._is_stopped = False
        self.SCError = lambda: 1001

    def watch(self, loop: ThreadsafeTimerLoop, reports: list[str]) -> Any:
        return macos.MacSystemProxyWatch(
            loop,  # type: ignore[arg-type]  # only timers and calls are used
            lambda: reports.append("changed"),
            macos.StoreFrameworks(self, self, self.CALLBACKS, self.MODE),
        )

    def change(self) -> None:
        """Change a watched key of the store."""
        self._signals.put(self._source_of("changes"))

    def _source_of(self, kind: str) -> int:
        (source,) = (at for at in self.sources if self.objects[at][0] == kind)
        return source

    def _create(self, function: str, value: Any) -> int | None:
        if function == self.failing:
            return None
        address = next(self._addresses)
        self.objects[address] = value
        return address

    def CFStringCreateWithCString(self, _: None, text: bytes, encoding: int) -> int | None:  # noqa: N802
        assert encoding == 0x08000100
        return self._create("CFStringCreateWithCString", text)

    def CFArrayCreate(self, _: None, values: Any, count: int, callbacks: int) -> int | None:  # noqa: N802
        assert callbacks == self.CALLBACKS
        return self._create("CFArrayCreate", [self.objects[at] for at in values[:count]])

    def CFRelease(self, address: int) -> None:  # noqa: N802
        del self.objects[address]

    def SCDynamicStoreCreate(  # noqa: N802
        self, _: None, name: int, callback: Any, context: None
    ) -> int | None:
        self.callback = callback
        return self._create("SCDynamicStoreCreate", "store")

    def SCDynamicStoreKeyCreateProxies(self, _: None) -> int | None:  # noqa: N802
        return self._create("SCDynamicStoreKeyCreateProxies", b"State:/Network/Global/Proxies")

    def SCDynamicStoreSetNotificationKeys(self, store: int, keys: int, patterns: int) -> int:  # noqa: N802
        assert self.objects[store] == "store"
        self.watched = self.objects[keys], self.objects[patterns]
        return self.failing != "SCDynamicStoreSetNotificationKeys"

    def SCDynamicStoreCreateRunLoopSource(self, _: None, store: int, order: int) -> int | None:  # noqa: N802
        return self._create("SCDynamicStoreCreateRunLoopSource", ("changes", store))

    def CFRunLoopSourceCreate(self, _: None, order: int, context: Any) -> int | None:  # noqa: N802
        assert context._obj.version == 0
        assert not any(context._obj.unused)
        return self._create("CFRunLoopSourceCreate", ("stop", context._obj.perform))

    def CFRunLoopGetCurrent(self) -> int:  # noqa: N802
        return self.RUN_LOOP

    def CFRunLoopAddSource(self, run_loop: int, source: int, mode: int) -> None:  # noqa: N802
        assert (run_loop, mode) == (self.RUN_LOOP, self.MODE)
        self.sources.append(source)

    def CFRunLoopSourceInvalidate(self, source: int) -> None:  # noqa: N802
        assert not self.is_running
        self.sources.remove(source)

    def CFRunLoopSourceSignal(self, source: int) -> None:  # noqa: N802
        assert self.objects[source][0] == "stop"
        self._signals.put(source)

    def CFRunLoopWakeUp(self, run_loop: int) -> None:  # noqa: N802
        assert run_loop == self.RUN_LOOP

    def CFRunLoopStop(self, run_loop: int) -> None:  # noqa: N802
        # A run loop that does not run yet would run nevertheless.
        assert self.is_running
        self._is_stopped = True

    def CFRunLoopRun(self) -> None:  # noqa: N802
        self.is_running = True
        while not self._is_stopped:
            kind, value = self.objects[self._signals.get(timeout=PATIENCE)]
            if kind == "stop":
                value(None)
            else:
                self.callback(value, 0, None)
        self.is_running = False


@pytest.fixture
def mac_watch() -> Iterator[tuple[FakeStoreFrameworks, ThreadsafeTimerLoop, list[str]]]:
    frameworks, loop, reports = FakeStoreFrameworks(), ThreadsafeTimerLoop(), list[str]()
    with ExitStack() as stack:
        stack.callback(frameworks.watch(loop, reports).close)
        yield frameworks, loop, reports
    assert frameworks.sources == []
    assert frameworks.objects == {}


def test_macos_reports_changes_of_the_store(
    mac_watch: tuple[FakeStoreFrameworks, ThreadsafeTimerLoop, list[str]],
) -> None:
    frameworks, loop, reports = mac_watch
    for count in (1, 2):
        frameworks.change()
        loop.run_call()
        loop.run_timer()
        assert reports == ["changed"] * count


def test_macos_watches_the_proxies_in_use_and_those_of_all_services(
    mac_watch: tuple[FakeStoreFrameworks, ThreadsafeTimerLoop, list[str]],
) -> None:
    frameworks, _, _ = mac_watch
    assert frameworks.watched == (
        [b"State:/Network/Global/Proxies"],
        [b"Setup:/Network/Service/[^/]+/Proxies"],
    )


@pytest.mark.parametrize(
    "function",
    [
        "CFStringCreateWithCString",
        "CFArrayCreate",
        "SCDynamicStoreCreate",
        "SCDynamicStoreKeyCreateProxies",
        "SCDynamicStoreSetNotificationKeys",
        "SCDynamicStoreCreateRunLoopSource",
        "CFRunLoopSourceCreate",
    ],
)
def test_a_watch_that_macos_refuses_is_an_error(function: str) -> None:
    frameworks = FakeStoreFrameworks(function)
    with pytest.raises(OSError, match=f"{function}: error 1001"):
        frameworks.watch(ThreadsafeTimerLoop(), [])
    assert frameworks.objects == {}


# --- Windows and macOS ---------------------------------------------------------------------------


@pytest.mark.parametrize("system", [FakeRegistryLibraries, FakeStoreFrameworks])
def test_a_closed_watch_reports_nothing(
    system: type[FakeRegistryLibraries] | type[FakeStoreFrameworks],
) -> None:
    libraries, loop, reports = system(), ThreadsafeTimerLoop(), list[str]()
    watch = libraries.watch(loop, reports)
    libraries.change()
    watch.close()
    # The thread may have reported the change before it was stopped.
    while loop.has_calls:
        loop.run_call()
    assert not loop.timers


@pytest.mark.parametrize("system", [FakeRegistryLibraries, FakeStoreFrameworks])
def test_a_change_after_the_end_of_the_loop_raises_no_error(
    system: type[FakeRegistryLibraries] | type[FakeStoreFrameworks], monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: list[object] = []
    monkeypatch.setattr(threading, "excepthook", errors.append)
    # ctypes passes the errors of callbacks to this function.
    monkeypatch.setattr(sys, "unraisablehook", errors.append)
    libraries, loop = system(), ThreadsafeTimerLoop()
    watch = libraries.watch(loop, [])
    loop.is_closed = True
    libraries.change()
    loop.wait_for_refusal()
    watch.close()
    assert errors == []


@pytest.mark.unix
def test_without_the_libraries_of_windows_the_watch_is_refused() -> None:
    loop: Any = ThreadsafeTimerLoop()
    with pytest.raises(OSError, match="not Windows"):
        windows.WindowsSystemProxyWatch(loop, lambda: None)


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has the frameworks")
def test_without_the_frameworks_of_macos_the_watch_is_refused() -> None:
    loop: Any = ThreadsafeTimerLoop()
    with pytest.raises(OSError):  # noqa: PT011  # the message is the system's
        macos.MacSystemProxyWatch(loop, lambda: None)
