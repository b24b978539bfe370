"""What this computer has run out of."""

import errno
import os
from typing import NoReturn

import pytest

from trayproxy.engine.net.resource_shortage import is_shortage, lacks_descriptors


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS])
def test_what_this_computer_lacks(code: int) -> None:
    assert is_shortage(OSError(code, "x"))


@pytest.mark.parametrize(
    "error",
    [
        *(OSError(code, "x") for code in (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ETIMEDOUT)),
        OSError("without a number"),
        ValueError(errno.EMFILE),
    ],
)
def test_what_somebody_else_does_is_no_shortage(error: Exception) -> None:
    assert not is_shortage(error)


@pytest.mark.parametrize(
    ("code", "expected"), [(errno.EMFILE, True), (errno.ENFILE, True), (errno.ENOENT, False)]
)
def test_whether_there_are_descriptors_is_tried(
    monkeypatch: pytest.MonkeyPatch, code: int, expected: bool
) -> None:
    def fail(path: str, flags: int) -> NoReturn:
        raise OSError(code, "x")

    before = len(os.listdir("/proc/self/fd"))
    assert not lacks_descriptors()
    assert len(os.listdir("/proc/self/fd")) == before
    monkeypatch.setattr("trayproxy.engine.net.resource_shortage.os.open", fail)
    assert lacks_descriptors() is expected
