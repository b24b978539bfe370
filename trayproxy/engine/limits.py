"""The engine's figures (security.md, section 3), in one place so that tests can scale the times."""

from dataclasses import dataclass, fields, replace
from typing import Self


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """How long and how much.

    Attributes:
        first_octet_s: From accepting a connection to its first octet.
        idle_s: From the end of a request to the next one on the same connection.
        head_s: From the first octet of a head to its end.
        body_s: Without any progress in a request's body, or at a client that takes nothing.
        answer_body_s: Without any progress in an answer's body: event streams are quiet for long.
        resolve_s: For a name.
        connect_s: For one address.
        connect_total_s: For all addresses of a name.
        next_address_s: Before the next address is tried beside a slow one (RFC 8305, section 5).
        own_expect_s: For the 100 that we asked for before a large upload; some never send one.
        agree_s: For agreeing with the next hop on encryption, and with a SOCKS server on a login.
        socks_connect_s: For a SOCKS server to connect to the target.
        dead_s: How long an upstream that could not be reached is left alone, if there are others.
        dead_most_s: The same, after it was found dead again and again.
        asleep_s: How long the computer has to sleep for connections to be dropped at waking up.
        refusal_s: For reading the rest of a 407, so that its connection can be used again.
        step_s: For one step of a sign-in that has to ask somebody else, as Kerberos has.
        spare_s: For signing in a connection ahead.
        late_s: For the answer to a request that carried a login, after its client has left.
        late_silence_s: The same, before the answer counts as missing.
        mute_s: Without any answer of a next hop while requests wait that carry a login, before
            further requests take turns. Noticed at most a second late.
        arrival_s: How long a network may take to be there after a wake-up or a change: before that
            nobody is told that the next hop cannot be reached.
        upstream_head_s: From the whole request to the head of its answer. Reports and long polls
            take minutes; squid waits as long (read_timeout).
        connect_head_s: The same for CONNECT, and for requests of our own: no site has to compute
            anything for them.
        half_closed_s: For a tunnel of which one side has ended its sending, without any progress.
        linger_s: For reading what a client still sends after an error (RFC 9112, section 9.6).
        drain_s: For transfers that run when we are told to quit.
        kept_s: For an idle upstream connection.
        drain_octets: Of what a client still sends after an error, within `linger_s`; of what a 407
            brings, within `refusal_s`.
        body_least: Octets of content that a client has to send within `body_s`.
        early_octets: Of a client that sends ahead: into a tunnel, or its next requests.
        clients: Connections at once.
    """

    first_octet_s: float = 60.0
    idle_s: float = 300.0
    head_s: float = 15.0
    body_s: float = 60.0
    answer_body_s: float = 300.0
    resolve_s: float = 5.0
    connect_s: float = 10.0
    connect_total_s: float = 20.0
    next_address_s: float = 0.25
    own_expect_s: float = 3.0
    agree_s: float = 10.0
    socks_connect_s: float = 60.0
    dead_s: float = 30.0
    dead_most_s: float = 300.0
    asleep_s: float = 30.0
    refusal_s: float = 2.0
    step_s: float = 30.0
    spare_s: float = 10.0
    late_s: float = 60.0
    late_silence_s: float = 2.0
    mute_s: float = 0.9
    arrival_s: float = 5.0
    upstream_head_s: float = 900.0
    connect_head_s: float = 60.0
    half_closed_s: float = 60.0
    linger_s: float = 2.0
    drain_s: float = 5.0
    kept_s: float = 30.0
    drain_octets: int = 262_144
    body_least: int = 64
    early_octets: int = 65_536
    clients: int = 16_384

    def answer_s(self, method: bytes) -> float:
        """Return how many seconds the head of the answer to a request of this method may take."""
        return self.connect_head_s if method == b"CONNECT" else self.upstream_head_s

    def scaled(self, factor: float) -> Self:
        """Return the same with every time multiplied, for tests."""
        times = {
            field.name: getattr(self, field.name) * factor
            for field in fields(self)
            if field.name.endswith("_s")
        }
        return replace(self, **times)


LIMITS = EngineLimits()
"""The figures that hold unless somebody says otherwise."""
