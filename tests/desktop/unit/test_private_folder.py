"""Tests for trayproxy.desktop.private_folder: the folder of TRAYPROXY_HOME."""

import sys
from pathlib import Path

import pytest

from trayproxy.desktop.private_folder import windows
from trayproxy.desktop.private_folder.factory import make_home_private
from trayproxy.paths import HOME_VARIABLE, PathError, locate


@pytest.mark.parametrize(
    ("platform", "is_named", "is_closed"),
    [("win32", True, True), ("win32", False, False), ("linux", True, False)],
)
def test_the_folder_in_the_variable_is_made_private_on_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, platform: str, is_named: bool, is_closed: bool
) -> None:
    closed: list[Path] = []
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    paths = locate()
    monkeypatch.setattr(windows, "make_private_by_acl", closed.append)
    monkeypatch.setattr(sys, "platform", platform)
    make_home_private(paths, {HOME_VARIABLE: str(tmp_path)} if is_named else {})
    assert closed == [tmp_path] * is_closed


def test_a_folder_that_cannot_be_made_private_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(folder: Path) -> None:
        raise PathError(f"{folder} belongs to another user")

    monkeypatch.setattr(windows, "make_private_by_acl", refuse)
    monkeypatch.setattr(sys, "platform", "win32")
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))
    with pytest.raises(PathError):
        make_home_private(locate())
