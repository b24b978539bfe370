import ssl
import subprocess
import sys
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from time import localtime, strftime

import pytest

from tests.pac.pac_server import SCRIPT, PacServer, ok, response
from tests.support.processes import SOURCES
from trayproxy.desktop.system_pac.base import SystemSetting, manual_setting, script_setting
from trayproxy.desktop.system_proxy.base import ProxyKind
from trayproxy.pac.direct_connection import Address
from trayproxy.pac.fetch import PacTools, load
from trayproxy.pac.state import PacState
from trayproxy.profiles.pac_address import parse_pac_source
from trayproxy.profiles.pac_source import PacKind, PacSource
from trayproxy.system_settings.entries import TargetError

SYSTEM, WPAD = PacSource(PacKind.SYSTEM), PacSource(PacKind.WPAD)
NOTHING = PacState()
OTHER = SCRIPT.replace("8080", "8081")
DATE = strftime("%Y-%m-%d %H:%M", localtime(1000.0))


def no_context() -> ssl.SSLContext:
    raise AssertionError("no TLS is needed")


@pytest.fixture
def tools(tmp_path: Path) -> PacTools:
    return PacTools(
        tmp_path / "pac",
        no_context,
        read_system=lambda: pytest.fail("the system is not asked"),
        dns_suffixes=lambda: pytest.fail("the suffixes are not asked for"),
        now=lambda: 1000.0,
        time_limit_s=2.0,
    )


def load_from(server: PacServer, tools: PacTools, known: PacState = NOTHING) -> PacState:
    reachable = replace(tools, look_up=server.look_up)
    return load(parse_pac_source("http://pac.example/x.pac?token=secret"), reachable, known)


def test_a_script_is_loaded_and_its_copy_kept(tools: PacTools) -> None:
    with PacServer(ok(SCRIPT, 'ETag: "5"'), response("304 x"), ok(OTHER)) as server:
        first = load_from(server, tools)
        later = load_from(server, replace(tools, now=lambda: 5000.0))
        changed = load_from(server, tools)
    assert (first.script, first.loaded_at, first.problem) == (SCRIPT, 1000.0, None)
    assert later == replace(first, loaded_at=5000.0)
    assert changed.script == OTHER
    assert [request.value("if-none-match") for request in server.requests] == ["", '"5"', '"5"']


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (response("404 x"), "the server does not have it (status 404)"),
        (
            ok("<html>Sign in to the hotel"),
            "it is a web page, not a script; the network may require a sign-in on its own page",
        ),
        (ok(SCRIPT)[:-1], "the answer of the server is not complete"),
        (ok("alert()"), "it has no function FindProxyForURL"),
        (ok(""), "it is empty"),
    ],
)
def test_while_a_source_fails_the_last_good_copy_is_in_use(
    tools: PacTools, answer: bytes, reason: str
) -> None:
    with PacServer(answer) as server:
        state = load_from(server, tools)
    assert state.problem is not None
    assert state == PacState(problem=state.problem)
    assert state.problem.id == "TP-501"
    body = f"http://pac.example/x.pac: {reason}."
    assert state.problem.body == f"{body} Requests wait for it."
    with PacServer(ok(), answer) as server:
        load_from(server, tools)
        state = load_from(server, replace(tools, now=lambda: 9999.0))
    assert (state.script, state.is_stored, state.loaded_at) == (SCRIPT, True, 1000.0)
    assert state.problem is not None
    assert state.problem.body == f"{body} The last good copy from {DATE} is in use."


def test_a_damaged_copy_is_ignored_and_told(
    tools: PacTools, caplog: pytest.LogCaptureFixture
) -> None:
    with PacServer(ok(SCRIPT, 'ETag: "5"'), response("404 x"), ok()) as server:
        load_from(server, tools)
        [copy] = tools.copies.iterdir()
        copy.write_bytes(copy.read_bytes()[:-30])
        state = load_from(server, tools)
        assert state.script is None
        assert state.problem is not None
        assert state.problem.body.endswith(
            "The last good copy is damaged. Requests wait for the script."
        )
        assert load_from(server, tools).script == SCRIPT
    assert server.requests[1].value("if-none-match") == ""
    assert "is not used: it is damaged" in caplog.text
    assert "secret" not in caplog.text
    caplog.clear()


def test_without_a_cache_folder_the_script_stays_in_memory(
    tools: PacTools, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    tools = replace(tools, copies=tmp_path / "file" / "pac")
    with PacServer(ok(), response("404 x")) as server:
        first = load_from(server, tools)
        second = load_from(server, tools, first)
    assert (second.script, second.is_stored) == (SCRIPT, True)
    assert "no copy of http://pac.example/x.pac is kept" in caplog.text
    caplog.clear()


def test_the_copy_is_offered_before_the_source_is_asked(tools: PacTools) -> None:
    offered: list[PacState] = []
    source = parse_pac_source("http://pac.example/x.pac")
    with PacServer(ok()) as server:
        tools = replace(tools, look_up=server.look_up)
        load(source, tools, NOTHING, offered.append)
        assert offered == []
        load(source, tools, NOTHING, offered.append)
    assert offered == [PacState(SCRIPT, source, 1000.0, is_stored=True)]


def test_a_file_is_read(tools: PacTools, tmp_path: Path) -> None:
    path = tmp_path / "my.pac"
    path.write_bytes(SCRIPT.encode("utf-16"))
    source = PacSource(PacKind.FILE, str(path))
    assert load(source, tools, NOTHING) == PacState(SCRIPT, source, 1000.0)
    path.unlink()
    state = load(source, tools, NOTHING)
    assert (state.script, state.is_stored) == (SCRIPT, True)
    assert state.problem is not None
    assert state.problem.body.startswith(f"{path}: there is no such file.")
    path.mkdir()
    state = load(source, tools, NOTHING)
    assert state.problem is not None
    assert "the file cannot be read" in state.problem.body
    path.rmdir()
    path.write_bytes(bytes((1 << 20) + 1))
    state = load(source, tools, NOTHING)
    assert state.problem is not None
    assert "it is larger than 1 MiB" in state.problem.body


@pytest.mark.parametrize(
    ("url", "script"),
    [
        ("data:,function%20FindProxyForURL()%20{}", "function FindProxyForURL() {}"),
        ("data:text/plain;charset=iso-8859-1,FindProxyForURL%20%FC%2C", "FindProxyForURL ü,"),
        ("data:;base64," + b64encode(SCRIPT.encode()).decode(), SCRIPT),
        ("data:;base64,!", None),
        ("data:,", None),
    ],
)
def test_a_data_url_contains_its_script(tools: PacTools, url: str, script: str | None) -> None:
    source = PacSource(PacKind.DATA, url)
    state = load(source, tools, NOTHING)
    assert (state.script, state.problem is None) == (script, script is not None)
    assert not tools.copies.exists()


def test_a_script_by_http_loads_no_openssl(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from trayproxy.pac.fetch import PacTools, load
from trayproxy.pac.state import PacState
from trayproxy.profiles.pac_address import parse_pac_source
tools = PacTools(Path(sys.argv[1]), None, None, None)
assert load(parse_pac_source(sys.argv[2]), tools, PacState()).script
assert not {"_ssl", "_hashlib"} & sys.modules.keys()
"""
    with PacServer(ok()) as server:
        url = f"http://127.0.0.1:{server.port}/x.pac"
        subprocess.run([sys.executable, "-c", code, tmp_path, url], cwd=SOURCES, check=True)


# --- the system's own setting ---------------------------------------------------------------------


def test_the_script_of_the_system_is_loaded(tools: PacTools) -> None:
    with PacServer(ok()) as server:
        tools = replace(
            tools,
            look_up=server.look_up,
            read_system=lambda: script_setting("GNOME", "http://pac.example/x.pac"),
        )
        state = load(SYSTEM, tools, NOTHING)
    assert state.script == SCRIPT
    assert state.origin == parse_pac_source("http://pac.example/x.pac")


@pytest.mark.parametrize(
    "setting", [manual_setting("KDE", "proxy.example:8080", "", []), SystemSetting(origin="KDE")]
)
def test_a_system_without_script_has_a_setting(tools: PacTools, setting: SystemSetting) -> None:
    state = load(SYSTEM, replace(tools, read_system=lambda: setting), NOTHING)
    assert state == PacState(setting=setting)
    assert state.is_settled


def test_a_system_that_cannot_be_read_keeps_its_last_setting(tools: PacTools) -> None:
    def fail() -> SystemSetting:
        raise TargetError("gsettings does not end within 5 s")

    tools = replace(tools, read_system=fail)
    start = "system settings: gsettings does not end within 5 s."
    for known, end in (
        (NOTHING, "Requests wait for it."),
        (PacState(SCRIPT, None, 1000.0), f"The last good copy from {DATE} is in use."),
        (PacState(setting=SystemSetting()), "The setting from before is in use."),
    ):
        state = load(SYSTEM, tools, known)
        assert state.problem is not None
        assert state.problem.body == f"{start} {end}"
        assert (state.script, state.setting) == (known.script, known.setting)


# --- automatic detection --------------------------------------------------------------------------


class Names:
    """A name server with the hosts of a network."""

    def __init__(self, **servers: PacServer) -> None:
        self.servers = {f"wpad.{name}.example.": server for name, server in servers.items()}
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> Sequence[Address]:
        self.asked.append(host)
        return self.servers[host].look_up(host, port) if host in self.servers else ()


def detecting(tools: PacTools, names: Names, *suffixes: str) -> PacTools:
    return replace(tools, look_up=names, dns_suffixes=lambda: suffixes)


def test_the_script_of_the_network_is_found(tools: PacTools) -> None:
    with PacServer(ok()) as server:
        names = Names(corp=server)
        state = load(WPAD, detecting(tools, names, "office.corp.example"), NOTHING)
    assert state.script == SCRIPT
    assert state.origin == PacSource(PacKind.URL, "http://wpad.corp.example/wpad.dat")
    # Whole names: the resolver does not append other domains to them.
    assert names.asked == ["wpad.office.corp.example.", "wpad.corp.example."]


@pytest.mark.parametrize("suffixes", [("home.example",), ("lan",), ()])
def test_in_a_network_without_script_programs_connect_directly(
    tools: PacTools, suffixes: Sequence[str]
) -> None:
    with PacServer(ok()) as server:
        office = load(WPAD, detecting(tools, Names(corp=server), "corp.example"), NOTHING)
    state = load(WPAD, detecting(tools, Names(), *suffixes), office)
    assert state.setting is not None
    assert (state.setting.kind, state.problem, state.script) == (ProxyKind.NONE, None, None)


def test_a_silent_server_of_the_network_is_a_failure(tools: PacTools) -> None:
    with PacServer(ok(), response("500 x")) as server:
        office = detecting(tools, Names(corp=server), "office.corp.example")
        load(WPAD, office, NOTHING)
        state = load(WPAD, office, NOTHING)
    assert (state.script, state.is_stored) == (SCRIPT, True)
    assert state.problem is not None
    assert state.problem.body.startswith("http://wpad.corp.example/wpad.dat: ")


def test_the_time_limit_counts_for_all_servers_together(tools: PacTools) -> None:
    with PacServer(lambda connection: list(iter(lambda: connection.recv(1), b""))) as server:
        names = Names(**{"office.corp": server, "corp": server})
        tools = replace(detecting(tools, names, "office.corp.example"), time_limit_s=0.2)
        state = load(WPAD, tools, NOTHING)
    assert state.problem is not None
    assert "the server did not answer completely within 0.2 s" in state.problem.body
    assert len(server.requests) == 1
