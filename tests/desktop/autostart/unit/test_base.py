"""Tests for trayproxy.desktop.autostart.base."""

import os

import pytest

from tests.desktop.autostart.fake_programs import FakePrograms
from trayproxy.desktop.autostart.base import StartCommand
from trayproxy.desktop.installation import InstalledProgram


def test_the_same_program_may_have_other_arguments(
    command: StartCommand, programs: FakePrograms
) -> None:
    path = command.program.path
    for words in ([path], [path, "run"], [os.path.join(os.path.dirname(path), ".", "trayproxy")]):
        assert command.is_started_by(words, "", programs.find)


def test_other_programs(command: StartCommand, programs: FakePrograms) -> None:
    path = command.program.path
    assert not command.is_started_by([], "", programs.find)
    assert not command.is_started_by([f"{path}2"], "", programs.find)
    assert not command.is_started_by([str(programs.add("old/trayproxy"))], "", programs.find)
    # Another TrayProxy, with other files.
    assert not command.is_started_by([path], "/other", programs.find)


@pytest.mark.unix
def test_a_link_to_the_script_is_the_script(command: StartCommand, programs: FakePrograms) -> None:
    (programs.folder / "trayproxy").symlink_to(command.program.path)
    assert command.is_started_by(["trayproxy", "--background"], "", programs.find)


@pytest.mark.unix
def test_interpreters_of_two_environments_differ(programs: FakePrograms) -> None:
    system = programs.add("python3")
    links = [programs.folder / name for name in ("venv1", "venv2")]
    for link in links:
        link.symlink_to(system)
    module = ("-P", "-m", "trayproxy")
    command = StartCommand(InstalledProgram(str(links[0]), module), ("--background",))
    assert command.argv == (str(links[0]), *module, "--background")
    assert command.is_started_by([str(links[0]), *module], "", programs.find)
    assert not command.is_started_by([str(links[1]), *module], "", programs.find)
    assert not command.is_started_by([str(links[0]), "-m", "other"], "", programs.find)
