"""Tests for trayproxy.desktop.hardening.

Each test runs a process of its own, because hardening cannot be undone.
"""

import subprocess
import sys
from pathlib import Path

import pytest

SOURCES = Path(__file__).parents[2]
HARDEN = "from trayproxy.desktop.hardening import harden\nharden()\n"


def run(code: str, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=SOURCES,
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.mark.parametrize(
    ("uses_portals", "printed"),
    [
        (False, "0\n(0, 0)\n"),
        # One octet: with a limit of 0, the kernel would pass the core dump to a handler.
        (True, "1\n(1, 1)\n"),
    ],
)
def test_a_hardened_process_leaves_no_core_dump_and_is_dumpable_only_for_portals(
    uses_portals: bool, printed: str
) -> None:
    code = (
        "import ctypes, resource\n"
        "from trayproxy.desktop.hardening import harden\n"
        f"harden(uses_portals={uses_portals})\n"
        "get_dumpable = 3\n"
        "print(ctypes.CDLL(None).prctl(get_dumpable, 0, 0, 0, 0))\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE))\n"
    )
    assert run(code).stdout == printed


READS_A_PASSWORD = """
import ctypes, getpass, resource, sys
from trayproxy.cli.main import main

class Input:
    buffer = property(lambda self: self)

    def isatty(self):
        return True

    def readline(self):
        print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), resource.getrlimit(resource.RLIMIT_CORE))
        return b""

main(["profiles", "add", "Office", "proxy.test:1", "--user", "jdoe"])
sys.stdin = Input()
getpass.getpass = lambda prompt: sys.stdin.readline().decode()
main(sys.argv[1:])
"""


@pytest.mark.parametrize(
    "verb",
    [
        "login Office",
        "login Office --stdin",
        "run --upstream proxy.test:1 --user jdoe --password-stdin --no-prompt",
    ],
)
def test_the_command_line_is_hardened_before_it_reads_a_password(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAYPROXY_HOME", str(tmp_path))
    result = run(READS_A_PASSWORD, *verb.split())
    assert "0 (0, 0)" in result.stdout.splitlines(), result.stderr


def test_the_tray_is_hardened_before_its_other_start_up_steps(tmp_path: Path) -> None:
    code = (
        "import resource\n"
        "from trayproxy.ui import app\n"
        "app.locate = lambda: print(resource.getrlimit(resource.RLIMIT_CORE)) or exit()\n"
        "app.main()\n"
    )
    assert run(code).stdout == "(1, 1)\n"


def test_a_hardened_process_can_inspect_itself() -> None:
    code = HARDEN + (
        "import os, psutil\n"
        "process = psutil.Process()\n"
        "assert process.name() and process.cmdline()\n"
        "assert process.memory_info().rss\n"
        "assert os.listdir('/proc/self/fd')\n"
        "print(process.parent().pid == os.getppid())\n"
    )
    result = run(code)
    assert (result.stdout, result.stderr) == ("True\n", "")


def test_a_crash_prints_function_names_without_values() -> None:
    code = HARDEN + (
        "import faulthandler\n"
        "def crash(password):\n"
        "    faulthandler._sigsegv()\n"
        "crash('canary-' + '7f3a')\n"
    )
    result = run(code)
    assert result.returncode < 0
    assert "in crash" in result.stderr
    assert "canary-" + "7f3a" not in result.stderr


def test_hardening_works_without_standard_error() -> None:
    code = f"import sys\nsys.stderr = None\n{HARDEN}print('done')\n"
    assert run(code).stdout == "done\n"


@pytest.mark.parametrize(
    ("soft", "hard", "found"), [(256, 4096, 4096), (300, 300, 300), (128, 20_000, 20_000)]
)
def test_the_descriptor_limit_is_raised_to_the_hard_limit(soft: int, hard: int, found: int) -> None:
    code = (
        "import resource, sys\n"
        "from trayproxy.desktop.hardening import raise_descriptor_limit\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[2])))\n"
        "print(raise_descriptor_limit(), resource.getrlimit(resource.RLIMIT_NOFILE))\n"
    )
    result = run(code, str(soft), str(hard))
    assert result.stdout == f"{found} ({found}, {hard})\n", result.stderr
