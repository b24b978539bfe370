"""Tests for trayproxy.desktop.kerberos, with the system's libkrb5 in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trayproxy.desktop.kerberos import disable_name_canonicalization, logon_brings_ticket

SOURCES = Path(__file__).parents[2]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="other systems are left unchanged")

# The reverse look-up of this address returns another name, without any DNS server.
CODE = """\
from trayproxy.desktop.kerberos import disable_name_canonicalization
disable_name_canonicalization()
import gssapi
name = gssapi.Name("HTTP@127.0.0.1", gssapi.NameType.hostbased_service)
print(name.canonicalize(gssapi.MechType.kerberos))
"""


def test_only_windows_has_the_ticket_from_the_logon() -> None:
    assert [logon_brings_ticket(name) for name in ("win32", "linux", "darwin")] == [
        True,
        False,
        False,
    ]


def principal(file: Path, settings: str, code: str = CODE) -> str:
    """Return the principal for which libkrb5 would request a ticket for the proxy 127.0.0.1."""
    file.write_text(f"[libdefaults]\n default_realm = TEST.LAN\n{settings}")
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=SOURCES,
        env={**os.environ, "KRB5_CONFIG": str(file)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip().partition("@")[0]


@LINUX
def test_the_principal_has_the_host_name_of_the_profile_r_127(tmp_path: Path) -> None:
    file = tmp_path / "krb5.conf"
    assert principal(file, "") == "HTTP/127.0.0.1"
    without_settings = CODE.replace("disable_name_canonicalization()\n", "")
    assert principal(file, "", without_settings) == "HTTP/localhost"


@LINUX
def test_the_settings_of_the_computer_take_precedence_r_127(tmp_path: Path) -> None:
    settings = " dns_canonicalize_hostname = true\n"
    assert principal(tmp_path / "krb5.conf", settings) == "HTTP/localhost"


@LINUX
@pytest.mark.parametrize("before", ["", "/etc/krb5.conf", "/home/jdoe/krb5.conf:/etc/krb5.conf"])
def test_the_own_file_is_appended_once_as_the_last_file(before: str) -> None:
    environ = {"KRB5_CONFIG": before} if before else {}
    disable_name_canonicalization(environ)
    disable_name_canonicalization(environ)
    *others, own_file = environ["KRB5_CONFIG"].split(":")
    assert ":".join(others) == before or others == ["/etc/krb5.conf"]
    assert "dns_canonicalize_hostname = false" in Path(own_file).read_text("utf-8")


def test_other_systems_are_left_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    environ: dict[str, str] = {}
    disable_name_canonicalization(environ)
    assert environ == {}
