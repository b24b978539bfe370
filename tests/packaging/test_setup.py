"""The commands on systems where not everything is there, played with small doubles of its tools."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REAL_TOOLS = ("bash", "cat", "cp", "chmod", "dirname", "grep", "id", "mkdir", "sha256sum")

NOT_ROOT = "echo 1000"
SUDO_REFUSES = "exit 1"
SUDO_ALLOWS = 'shift; [ "$1" = true ] || exec "$@"'
NOTHING_INSTALLED = "exit 1"
EVERYTHING_INSTALLED = "printf installed"

ENSURE = "ensure_packages 'the tests' \"$(missing_packages squid git)\""

Shell = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def shell(tmp_path: Path) -> Shell:
    """Run a line of shell with the functions of setup.sh, and only the given tools."""
    tools = tmp_path / "bin"
    tools.mkdir()
    for name in (*REAL_TOOLS, "env"):
        real = shutil.which(name)
        assert real is not None
        (tools / name).symlink_to(real)

    def run(line: str, **doubles: str) -> subprocess.CompletedProcess[str]:
        for name, body in doubles.items():
            double = tools / name.replace("_", "-")
            double.unlink(missing_ok=True)
            double.write_text(f"#!/bin/bash\n{body}\n", "utf-8")
            double.chmod(0o755)
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", f"source {ROOT}/packaging/setup.sh; {line}"],
            cwd=tmp_path,
            env={"PATH": str(tools), "HOME": str(tmp_path)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            check=False,
        )

    return run


def test_installed_packages_are_not_installed_again(shell: Shell) -> None:
    done = shell(ENSURE, dpkg_query=EVERYTHING_INSTALLED, apt_get="echo called; exit 1")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_root_installs_all_missing_packages_without_questions(shell: Shell) -> None:
    done = shell(
        ENSURE,
        id="echo 0",
        dpkg_query="[[ $* == *git* ]] && printf installed",
        apt_get='echo "$DEBIAN_FRONTEND $*"',
    )
    assert done.returncode == 0
    assert done.stderr.splitlines()[1:] == [
        "noninteractive -q -o DPkg::Lock::Timeout=600 update",
        "noninteractive -q -o DPkg::Lock::Timeout=600 install -y --no-install-recommends squid",
    ]


def test_sudo_without_a_password_is_used(shell: Shell) -> None:
    done = shell(
        ENSURE, id=NOT_ROOT, sudo=SUDO_ALLOWS, dpkg_query=NOTHING_INSTALLED, apt_get='echo "$*"'
    )
    assert done.returncode == 0
    assert "install -y --no-install-recommends squid git" in done.stderr


def test_without_permission_the_command_is_printed(shell: Shell) -> None:
    done = shell(
        ENSURE, id=NOT_ROOT, sudo=SUDO_REFUSES, dpkg_query=NOTHING_INSTALLED, apt_get="exit 0"
    )
    assert done.returncode == 1
    assert "  sudo apt-get install -y --no-install-recommends squid git\n" in done.stderr


def test_without_apt_the_names_are_printed(shell: Shell) -> None:
    done = shell(ENSURE, dpkg_query=NOTHING_INSTALLED)
    assert done.returncode == 1
    assert "no apt-get" in done.stderr
    assert "  squid git\n" in done.stderr


def test_a_newer_python_is_preferred_to_an_old_python(shell: Shell) -> None:
    found = shell("find_python", python3="exit 1", **{"python3.12": "exit 0"})
    assert found.returncode == 0
    assert found.stdout.endswith("/python3.12\n")


def test_a_missing_python_is_reported(shell: Shell) -> None:
    done = shell("require_python", python3="exit 1")
    assert done.returncode == 1
    assert "TrayProxy needs Python 3.11 to 3.14" in done.stderr


PYTHON_WITHOUT_VENV = """
case "$*" in
  *ensurepip*) exit 1 ;;
  --version) echo Python 3.11.2 ;;
  -m*) echo "$*" ;;
esac
"""


def test_a_missing_venv_package_is_installed(shell: Shell) -> None:
    done = shell(
        "ensure_packages 'the tests' \"$(missing_for_venv)\"; ensure_venv",
        id="echo 0",
        python3=PYTHON_WITHOUT_VENV,
        dpkg_query=NOTHING_INSTALLED,
        apt_get='echo "$*"',
    )
    assert done.returncode == 0
    assert "install -y --no-install-recommends python3-venv" in done.stderr
    assert "-m venv --clear .venv" in done.stderr


@pytest.mark.parametrize(
    ("installed", "known", "printed"),
    [
        (["dante-server"], [], ""),
        (["microsocks"], ["dante-server"], ""),
        ([], ["dante-server", "microsocks"], "dante-server "),
        ([], ["microsocks"], "microsocks "),
        ([], [], "microsocks "),
    ],
    ids=["first there", "second there", "both known", "second known", "apt has no lists"],
)
def test_a_package_missing_in_a_release_is_replaced(
    shell: Shell, installed: list[str], known: list[str], printed: str
) -> None:
    done = shell(
        "missing_packages 'dante-server|microsocks'",
        dpkg_query=f'for name; do :; done; [[ " {" ".join(installed)} " != *" $name "* ]] || '
        "printf installed",
        apt_cache=f'[[ " {" ".join(known)} " == *" $2 "* ]] && echo "  Candidate: 1" || '
        'echo "  Candidate: (none)"',
    )
    assert (done.returncode, done.stdout) == (0, printed)


HEADERS = '[[ $* != "-m pip"* ]] || echo "pip: $CFLAGS" >&2'
NO_HEADERS = f"[[ $* != *Python.h* ]] || exit 1; {HEADERS}"


@pytest.mark.parametrize(
    ("lock", "python", "installed"),
    [
        ("krb5==0.10.0 \\", HEADERS, ["gcc libc6-dev libkrb5-dev"]),
        ("krb5==0.10.0 \\", NO_HEADERS, ["gcc libc6-dev libkrb5-dev python3-dev"]),
        ("keyring==25.7.0 \\", NO_HEADERS, []),
    ],
    ids=["Kerberos", "Kerberos, no headers", "no Kerberos"],
)
def test_the_packages_for_building_kerberos_are_installed_first(
    shell: Shell, tmp_path: Path, lock: str, python: str, installed: list[str]
) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / "lock.txt").write_text(f"{lock}\n", "utf-8")
    venv = tmp_path / ".venv" / "bin"
    venv.mkdir(parents=True)
    (venv / "python").write_text(f"#!/bin/bash\n{python}\n", "utf-8")
    (venv / "python").chmod(0o755)
    done = shell(
        "ensure_packages 'the tests' \"$(missing_for_lock lock.txt)\"; ensure_trayproxy lock.txt",
        id="echo 0",
        dpkg_query=NOTHING_INSTALLED,
        apt_get='said="$*"; [[ $said != *install* ]] || echo "apt: ${said#*recommends }"',
    )
    assert done.returncode == 0, done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith(("apt: ", "pip: "))]
    wanted = [f"apt: {names}" for names in installed]
    assert said == [*wanted, "pip: -O0 -g0", "pip: "]


def test_the_variables_of_the_session_are_removed(shell: Shell) -> None:
    line = (
        "export DISPLAY=:1 DBUS_SESSION_BUS_ADDRESS=x https_proxy=x HTTP_PROXY=x"
        " PYTHON_KEYRING_BACKEND=x; forget_session; env"
    )
    kept = {entry.partition("=")[0] for entry in shell(line).stdout.splitlines()}
    assert kept <= {"PATH", "HOME", "PWD", "SHLVL", "_", "OLDPWD"}


PYTHON_OF_A_BARE_SYSTEM = """
case "$*" in
  *ensurepip*) [[ -e installed ]] ;;
  *Python.h*) [[ -e installed ]] ;;
  *qt_libraries.py) [[ -e installed ]] || printf 'libegl1 libgl1' ;;
  "-m venv"*tools) mkdir -p .venv/tools/bin; cp /bin/true .venv/tools/bin/npm ;;
  "-m venv"*) mkdir -p .venv/bin; cp "$0" .venv/bin/python ;;
  *editable*) printf '#!/bin/bash\n' >.venv/bin/trayproxy; chmod +x .venv/bin/trayproxy ;;
  *pytest*) echo tested ;;
esac
"""


def test_without_permission_all_packages_are_printed_the_first_time(
    shell: Shell, tmp_path: Path
) -> None:
    shutil.copytree(ROOT / "packaging", tmp_path / "packaging")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "home" / ".fonts" / "a").mkdir(parents=True)
    doubles = {
        "id": NOT_ROOT,
        "sudo": SUDO_REFUSES,
        "python3": PYTHON_OF_A_BARE_SYSTEM,
        "dpkg_query": "[[ ! -e installed ]] || printf installed",
        "apt_get": "exit 1",
    }
    first = shell("HOME=$PWD/home packaging/test", **doubles)
    assert first.returncode == 1
    (told,) = re.findall("sudo apt-get install (.*)", first.stderr)
    needed = "python3-venv gcc libkrb5-dev python3-dev libegl1 libgl1 squid iproute2 microsocks"
    assert set(needed.split()) <= set(told.split())
    (tmp_path / "installed").touch()
    second = shell("HOME=$PWD/home packaging/test", **doubles)
    assert (second.returncode, second.stdout) == (0, "tested\n"), second.stderr


@pytest.mark.parametrize(
    "script",
    ["demo", "test", "lock", "fresh", "linux/desktop-entry", "linux/fresh-place", "wine/test"],
)
def test_a_script_is_executable_and_well_formed(script: str) -> None:
    path = ROOT / "packaging" / script
    assert os.access(path, os.X_OK)
    subprocess.run(["shellcheck", "-x", path], cwd=ROOT, check=True)
