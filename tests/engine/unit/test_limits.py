"""Tests for trayproxy.engine.limits: the default limits (security.md, section 3)."""

from dataclasses import asdict
from importlib import import_module

import pytest

from tests.engine.fakes import scaled_limits
from trayproxy.engine.limits import LIMITS, EngineLimits

FIGURES = {
    "first_octet_s": 60,
    "idle_s": 300,
    "head_s": 15,
    "body_s": 60,
    "response_body_s": 300,
    "resolve_s": 5,
    "connect_s": 10,
    "connect_total_s": 20,
    "connection_attempt_delay_s": 0.25,
    "expect_continue_s": 3,
    "handshake_s": 10,
    "socks_connect_s": 60,
    "dead_upstream_s": 30,
    "dead_upstream_max_s": 300,
    "min_suspend_s": 30,
    "drain_407_s": 2,
    "auth_step_s": 30,
    "preconnect_s": 10,
    "orphaned_response_s": 60,
    "missing_response_s": 2,
    "silent_upstream_s": 0.9,
    "network_grace_s": 5,
    # security.md says 60 s, and 300 s for hosts with long polls. These hosts are not known in
    # advance, and an aborted report looks like a network failure; squid waits 900 s, too.
    "response_head_s": 900,
    "connect_response_head_s": 60,
    "half_closed_s": 60,
    "linger_s": 2,
    "wrong_password_s": 1,
    "shutdown_s": 5,
    "idle_upstream_s": 30,
    "max_drain_octets": 256 << 10,
    "min_body_octets": 64,
    "max_early_octets": 64 << 10,
    # security.md says 4,096. A tunnel takes 2 KiB, and some programs open thousands.
    "max_clients": 16_384,
    "max_remote_clients": 1_024,
}

CONSTANTS = {
    "forward.forwarder.MAX_UNANSWERED": 2,
    "forward.request_loop.REQUESTS_PER_TURN": 64,
    "forward.response_relay.PARTS_PER_TURN": 8,
    "net.poller.EVENTS_PER_TURN": 256,
    "net.resolver.CACHE_S": 10,
    "net.resolver.MAX_CACHED_NAMES": 256,
    "net.socket_stream.CHUNK": 64 << 10,
    "net.socket_stream.KEEPALIVE_OPTIONS": {
        "TCP_KEEPIDLE": 10,
        "TCP_KEEPALIVE": 10,
        "TCP_KEEPINTVL": 10,
        "TCP_KEEPCNT": 11,
    },
    "net.socket_stream.STALLED_MS": 3000,
    "net.socket_stream.STALLED_RETRANSMITS": 4,
    "net.tls.MAX_CA_FILE": 4 << 20,
    "net.tls.MAX_RECORD": 16 << 10,  # RFC 8446, section 5.1.
    "proxy_auth.auth_exchange.MAX_LOST_CONNECTIONS": 1,
    "downstream.CLIENT_CHECK_INTERVAL_S": 0.5,
    "proxy_auth.exempt_sites.MAX_SITES": 1000,
    "proxy_auth.handshake_legs.MAX_LEGS": 8,
    "proxy_auth.handshake_threads.MAX_THREADS": 8,
    "proxy_auth.late_verdicts.MAX_READERS": 64,
    "proxy_auth.preconnect_policy.BACK_OFF_S": 60,
    "proxy_auth.preconnect_policy.BURST_PAUSE_S": 0.06,
    "proxy_auth.preconnect_policy.MAX_FAILURES": 3,
    "proxy_auth.preconnect_policy.MAX_KEYS": 64,
    "proxy_auth.preconnect_policy.MAX_SHORT_PAUSES": 4,
    "proxy_auth.preconnect_policy.MIN_LONG_PAUSES": 2,
    "proxy_auth.preconnect.MAX_WAIT_S": 2,
    "server.executor.ACCEPT_PAUSE_S": 1,
    "server.executor.MAX_ACCEPTS_PER_EVENT": 64,
    "server.executor.SWEEP_S": 1,
    "server.refused_connections.CLIENTS_PER_REFUSED_CONNECTION": 16,
    "transfer.head_cache.MAX_ENTRIES": 1024,
    "transfer.head_cache.MAX_HEAD_OCTETS": 4096,
    "transfer.replay_buffer.MAX_IN_MEMORY": 1 << 20,
    "transfer.replay_buffer.MAX_REPLAYABLE": 64 << 20,
    "transfer.request_writer.PARTS_PER_TURN": 8,
    "transfer.response_reader.MAX_INTERIM": 100,
    "transfer.tunnel.MAX_IDLE_PIPES": 16,
    "transfer.tunnel.PIPE_SIZE": 1 << 20,
    "transfer.tunnel.SPLICES_PER_TURN": 8,
    "upstream.failover.MAX_SILENT_CONNECTIONS": 2,
    "upstream.network_grace.RETRY_S": 0.25,
    "upstream.pool.MAX_IDLE_PER_KEY": 64,
    "upstream.pool.RECENT_USE_S": 0.05,
}


def test_the_default_limits_are_those_of_security_md() -> None:
    assert asdict(LIMITS) == FIGURES


@pytest.mark.parametrize(("name", "figure"), CONSTANTS.items())
def test_the_limits_outside_engine_limits_are_as_documented(name: str, figure: object) -> None:
    module, _, constant = name.rpartition(".")
    assert getattr(import_module(f"trayproxy.engine.{module}"), constant) == figure


def test_scaled_multiplies_all_times_and_nothing_else() -> None:
    scaled, usual = asdict(scaled_limits(0.1)), asdict(EngineLimits())
    times = {name for name in usual if name.endswith("_s")}
    assert {name: scaled[name] for name in times} == {name: usual[name] * 0.1 for name in times}
    rest = usual.keys() - times
    assert {name: scaled[name] for name in rest} == {name: usual[name] for name in rest}
