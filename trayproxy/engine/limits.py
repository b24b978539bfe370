"""The time and size limits of the engine (security.md, section 3)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """The limits of the engine. Times are in seconds and end in ``_s``.

    Attributes:
        first_octet_s: From accepting a client connection to its first octet.
        idle_s: From the end of a request to the next request on the same client connection.
        head_s: From the first octet of a request head to the end of the head.
        body_s: Without progress in a request's content, or while a client reads nothing.
        response_body_s: Without progress in a response's content. Event streams can be silent for
            minutes.
        resolve_s: For the look-up of a name.
        connect_s: For connecting to one address.
        connect_total_s: For connecting to all addresses of a name.
        connection_attempt_delay_s: Before the next address is tried in parallel with a slow address
            (RFC 8305, section 5).
        expect_continue_s: For the 100 (Continue) requested by TrayProxy before a large upload;
            some servers never send it.
        handshake_s: For the TLS handshake with an upstream, and for authentication at a SOCKS
            server.
        socks_connect_s: For a SOCKS server to connect to the target.
        dead_upstream_s: How long an unreachable upstream is not used if there are fallbacks.
        dead_upstream_max_s: Upper limit of `dead_upstream_s`, which doubles at each failure.
        min_suspend_s: Shortest suspend of the computer after which connections are dropped.
        drain_407_s: For reading the rest of a 407 before its connection is reused.
        auth_step_s: For one step of a handshake with a third party, as in Kerberos.
        preconnect_s: For authenticating a preconnected connection.
        orphaned_response_s: For the response to a request with a login, after its client has
            disconnected.
        missing_response_s: The same, until the response is reported to the desk as missing.
        silent_upstream_s: Without any response from an upstream while requests with a login are
            pending, before further requests take turns. Noticed at most a second late.
        network_grace_s: How long the network may take to be usable after a suspend or a network
            change. Until then an unreachable upstream is not reported.
        response_head_s: From the end of the request to the head of the response. Reports and long
            polls take minutes; squid waits as long (read_timeout).
        connect_response_head_s: The same for CONNECT and for TrayProxy's own requests, for which no
            site computes anything.
        half_closed_s: Without progress, for a tunnel of which one side has finished sending.
        linger_s: For reading the remaining data of a client after an error (RFC 9112, section
            9.6).
        wrong_password_s: Before the answer to a device that sent a wrong password.
        shutdown_s: For running transfers when TrayProxy is told to quit.
        idle_upstream_s: For an idle upstream connection in the pool.
        max_drain_octets: Octets read from a client after an error within `linger_s`, and of the
            content of a 407 within `drain_407_s`.
        min_body_octets: Minimum octets of content from a client within `body_s`.
        max_early_octets: Maximum octets sent ahead by a client: into a tunnel before it is open, or
            pipelined requests.
        max_clients: Client connections open at the same time.
        max_remote_clients: Client connections of containers and other devices open at the same
            time, so that they leave room for the programs of this computer.
    """

    first_octet_s: float = 60.0
    idle_s: float = 300.0
    head_s: float = 15.0
    body_s: float = 60.0
    response_body_s: float = 300.0
    resolve_s: float = 5.0
    connect_s: float = 10.0
    connect_total_s: float = 20.0
    connection_attempt_delay_s: float = 0.25
    expect_continue_s: float = 3.0
    handshake_s: float = 10.0
    socks_connect_s: float = 60.0
    dead_upstream_s: float = 30.0
    dead_upstream_max_s: float = 300.0
    min_suspend_s: float = 30.0
    drain_407_s: float = 2.0
    auth_step_s: float = 30.0
    preconnect_s: float = 10.0
    orphaned_response_s: float = 60.0
    missing_response_s: float = 2.0
    silent_upstream_s: float = 0.9
    network_grace_s: float = 5.0
    response_head_s: float = 900.0
    connect_response_head_s: float = 60.0
    half_closed_s: float = 60.0
    linger_s: float = 2.0
    wrong_password_s: float = 1.0
    shutdown_s: float = 5.0
    idle_upstream_s: float = 30.0
    max_drain_octets: int = 262_144
    min_body_octets: int = 64
    max_early_octets: int = 65_536
    max_clients: int = 16_384
    max_remote_clients: int = 1_024

    def response_head_limit_s(self, method: bytes) -> float:
        """Return the limit for the response head of a request with this method, in seconds."""
        return self.connect_response_head_s if method == b"CONNECT" else self.response_head_s


LIMITS = EngineLimits()
"""The default limits."""
