"""Errors caused by a shortage on this computer."""

import errno
import os
from typing import NoReturn

import pytest

from trayproxy.engine.net.resource_shortage import is_shortage, lacks_descriptors


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
def test_a_lack_of_descriptors_or_memory_is_a_shortage(code: int) -> None:
    assert is_shortage(OSError(code, "x"))


@pytest.mark.parametrize(
    "error",
    [
        *(OSError(code, "x") for code in (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ETIMEDOUT)),
        OSError("without a number"),
        ValueError(errno.EMFILE),
    ],
)
def test_errors_of_the_next_hop_are_no_shortage(error: Exception) -> None:
    assert not is_shortage(error)


@pytest.mark.unix
@pytest.mark.parametrize(
    ("code", "expected"), [(errno.EMFILE, True), (errno.ENFILE, True), (errno.ENOENT, False)]
)
def test_lacks_descriptors_opens_a_descriptor(
    monkeypatch: pytest.MonkeyPatch, code: int, expected: bool
) -> None:
    def fail(path: str, flags: int) -> NoReturn:
        raise OSError(code, "x")

    before = len(os.listdir("/proc/self/fd"))
    assert not lacks_descriptors()
    assert len(os.listdir("/proc/self/fd")) == before
    monkeypatch.setattr("trayproxy.engine.net.resource_shortage.os.open", fail)
    assert lacks_descriptors() is expected
