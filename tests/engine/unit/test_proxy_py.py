"""Tests for trayproxy.engine.proxy_py: the flags and the imports of proxy.py."""

import sys
from argparse import Namespace
from types import ModuleType
from typing import Any

import pytest
from proxy.common.flag import flags

from trayproxy.engine.proxy_py import Work, without_upstream_connections, work_flags

CONNECTIONS = "proxy.core.connection"
KIND: Any = Work
EXPECTED = {"hostname": "127.0.0.1", "port": 3128, "backlog": 1024, "enable_events": False}


def test_the_flags_hold_the_address_and_disable_unused_parts() -> None:
    found = work_flags(KIND, "127.0.0.1", 3128)
    assert {name: getattr(found, name) for name in EXPECTED} == EXPECTED
    assert (found.work_klass, found.enable_conn_pool) == (KIND, False)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_flag_that_proxy_py_parses_differently_is_an_error(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    parsed = Namespace(**{**EXPECTED, name: "another"})
    monkeypatch.setattr(flags, "parse_args", lambda arguments: parsed)
    with pytest.raises(RuntimeError, match=name):
        work_flags(KIND, "127.0.0.1", 3128)


def test_the_connections_of_proxy_py_are_replaced_unless_they_are_loaded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delitem(sys.modules, CONNECTIONS, raising=False)
    with without_upstream_connections():
        assert sys.modules[CONNECTIONS].UpstreamConnectionPool is None
    assert CONNECTIONS not in sys.modules
    loaded = ModuleType(CONNECTIONS)
    monkeypatch.setitem(sys.modules, CONNECTIONS, loaded)
    with without_upstream_connections():
        assert sys.modules[CONNECTIONS] is loaded
    assert sys.modules[CONNECTIONS] is loaded
