"""Tests for trayproxy.engine.limits: the default limits (security.md, section 3)."""

from dataclasses import asdict

import pytest

from tests.engine.fakes import scaled_limits
from trayproxy.engine.limits import LIMITS, EngineLimits
from trayproxy.engine.net.socket_stream import CHUNK, KEEPALIVE_OPTIONS

FIGURES = {
    "first_octet_s": 60,
    "head_s": 15,
    "body_s": 60,
    "resolve_s": 5,
    "connect_s": 10,
    "connection_attempt_delay_s": 0.25,
    "connect_total_s": 20,
    "min_suspend_s": 30,
    "network_grace_s": 5,
    "shutdown_s": 5,
    "half_closed_s": 60,
    "max_early_octets": 65_536,
    # security.md says 60 s, and 300 s for hosts with long polls. These hosts are not known in
    # advance, and an aborted report looks like a network failure; squid waits 900 s, too.
    "response_head_s": 900,
    "connect_response_head_s": 60,
    # security.md says 4,096. A tunnel takes 2 KiB, and some programs open thousands.
    "max_clients": 16_384,
}


@pytest.mark.parametrize(("name", "figure"), FIGURES.items())
def test_the_default_limits_are_those_of_security_md(name: str, figure: float) -> None:
    assert getattr(LIMITS, name) == figure


def test_limits_outside_engine_limits_are_those_of_security_md() -> None:
    assert CHUNK == 64 << 10
    assert KEEPALIVE_OPTIONS == {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 15, "TCP_KEEPCNT": 4}


def test_scaled_multiplies_all_times_and_nothing_else() -> None:
    scaled, usual = asdict(scaled_limits(0.1)), asdict(EngineLimits())
    times = {name for name in usual if name.endswith("_s")}
    assert {name: scaled[name] for name in times} == {name: usual[name] * 0.1 for name in times}
    rest = usual.keys() - times
    assert {name: scaled[name] for name in rest} == {name: usual[name] for name in rest}
