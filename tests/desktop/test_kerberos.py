"""Tests for trayproxy.desktop.kerberos, with the system's libkrb5 in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trayproxy.desktop.kerberos import disable_name_canonicalization

SOURCES = Path(__file__).parents[2]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing is added")

# An address has another name by reverse look-up, without any server.
CODE = """\
from trayproxy.desktop.kerberos import disable_name_canonicalization
disable_name_canonicalization()
import gssapi
name = gssapi.Name("HTTP@127.0.0.1", gssapi.NameType.hostbased_service)
print(name.canonicalize(gssapi.MechType.kerberos))
"""


def principal(file: Path, settings: str, code: str = CODE) -> str:
    """Return whom libkrb5 takes the proxy 127.0.0.1 for."""
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
def test_the_proxy_is_called_as_in_the_profile_r_127(tmp_path: Path) -> None:
    file = tmp_path / "krb5.conf"
    assert principal(file, "") == "HTTP/127.0.0.1"
    without_us = CODE.replace("disable_name_canonicalization()\n", "")
    assert principal(file, "", without_us) == "HTTP/localhost"


@LINUX
def test_what_the_computer_is_set_to_comes_first_r_127(tmp_path: Path) -> None:
    settings = " dns_canonicalize_hostname = true\n"
    assert principal(tmp_path / "krb5.conf", settings) == "HTTP/localhost"


@LINUX
@pytest.mark.parametrize("before", ["", "/etc/krb5.conf", "/home/jdoe/krb5.conf:/etc/krb5.conf"])
def test_our_file_is_the_last_one_and_there_once(before: str) -> None:
    environ = {"KRB5_CONFIG": before} if before else {}
    disable_name_canonicalization(environ)
    disable_name_canonicalization(environ)
    *others, ours = environ["KRB5_CONFIG"].split(":")
    assert ":".join(others) == before or others == ["/etc/krb5.conf"]
    assert "dns_canonicalize_hostname = false" in Path(ours).read_text("utf-8")


def test_elsewhere_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    environ: dict[str, str] = {}
    disable_name_canonicalization(environ)
    assert environ == {}
