"""Tests that the service does not load needless modules before it listens."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.dumpable_service import DUMPABLE
from tests.support.processes import Home
from tests.support.service import service

SOURCES = Path(__file__).parents[2]
PACKAGES = list(SOURCES.glob("trayproxy/*/*/**/__init__.py"))

NOT_NEEDED = (
    *(
        "_hashlib",
        "_ssl",
        "email",
        "hashlib",
        "html",
        "multiprocessing",
        "secrets",
        "ssl",
        "unittest",
    ),
    *(
        "PySide6",
        "jeepney",
        "keyring",
        "psutil",
        "secretstorage",
        "spnego",
        "tomlkit",
        "truststore",
    ),
    *("proxy.http", "proxy.plugin", "proxy.proxy"),
)


@pytest.fixture(scope="module")
def loaded() -> set[str]:
    """Return the modules that the start loads.

    Modules that the interpreter has loaded before, such as Debian's sitecustomize, do not count.
    """
    code = (
        "import sys; before = set(sys.modules);"
        "from trayproxy.service.lazy_openssl import import_without_openssl;"
        "import_without_openssl(); import trayproxy.cli.run;"
        "print(*(set(sys.modules) - before))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=SOURCES, capture_output=True, text=True, check=True
    )
    return set(run.stdout.split())


@pytest.mark.parametrize("module", NOT_NEEDED)
def test_a_module_is_loaded_only_when_needed(loaded: set[str], module: str) -> None:
    assert module not in loaded
    assert not [name for name in loaded if name.startswith(f"{module}.")]


def test_the_start_loads_a_limited_number_of_modules(loaded: set[str]) -> None:
    """Not counted: the standard library, which differs between versions, and empty packages."""
    others = {name for name in loaded if name.partition(".")[0] not in sys.stdlib_module_names}
    others -= {".".join(file.parent.relative_to(SOURCES).parts) for file in PACKAGES}
    # msgspec imports it if a dependency of the tests has installed it.
    others.discard("typing_extensions")
    assert len(others) < 222


def test_an_unused_service_has_loaded_no_openssl(place: Home) -> None:
    """Not even the modules that proxy.py imports when its executor is created during the start."""
    with service(place, "--no-prompt", program=DUMPABLE) as running:
        running.status()
        mapped = Path(f"/proc/{running.pid}/maps").read_text()
    assert "uvloop" in mapped
    assert not [name for name in ("libcrypto", "libssl", "/_ssl.", "/_hashlib.") if name in mapped]


def test_the_service_starts_without_openssl_and_can_still_encrypt() -> None:
    """A later import of `ssl` returns the real module, and asyncio works as usual."""
    code = """
from trayproxy.service.lazy_openssl import import_without_openssl
import_without_openssl()
import sys, asyncio, uvloop
assert "ssl" not in sys.modules and "secrets" not in sys.modules
import secrets, ssl
from trayproxy.engine.net.tls import system_context
assert isinstance(system_context(), ssl.SSLContext)
assert len(secrets.token_bytes(8)) == 8
async def main():
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    assert await reader.read() == b""
    writer.close()
    server.close()
for factory in (asyncio.new_event_loop, uvloop.new_event_loop):
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], cwd=SOURCES, check=True)


def test_looking_up_a_login_without_rejections_loads_no_openssl() -> None:
    """Each login is looked up among the rejected logins before it is sent."""
    code = """
import sys
from trayproxy.auth.login import Login
from trayproxy.desk.rejected_logins import RejectedLogins
rejected, login = RejectedLogins(bytes(16)), Login("jdoe", "hidden")
assert not rejected.contains(["http://proxy.corp.example:8080"], login)
rejected.discard(["http://proxy.corp.example:8080"], login)
assert "_hashlib" not in sys.modules
rejected.add(["http://proxy.corp.example:8080"], login)
assert rejected.contains(["http://proxy.corp.example:8080"], login)
"""
    subprocess.run([sys.executable, "-c", code], cwd=SOURCES, check=True)
