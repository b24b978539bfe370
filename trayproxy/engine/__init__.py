"""The forwarding proxy, on the `Work` contract of proxy.py.

proxy.py gives the listener, the flags, and the life of a `Work`: one for each client connection,
created, initialised, asked whether it is inactive, and shut down by an executor. How a work waits
and what it does is ours, for the reasons measured in the design: the stock executor polls, asks
every connection on every turn and blocks in `connect`; the stock parser loses repeated fields and
buffers bodies; the stock plugin frames only the first request of a connection.

What happens most takes a short way of few calls, and everything else is told as a story, one
coroutine from top to bottom. Both do the same; the short way decides nothing.

    engine       what all connections share, and the listeners in front of them
    limits       the figures: how long, how much
    front        proxy.py is loaded in part, before anything else of this room is
    executor     proxy.py's executor on a real event loop: O(ready), no polling, no thread
    descriptors  which of them are ready: one `epoll` below the loop, or the loop
    strand       runs one coroutine that waits in the words of proxy.py's contract
    stream       a socket that never blocks, and what was read from it but not used yet
    guard        who may connect
    turned_away  telling those who may not why
    shortage     what this computer has run out of
    reserve      a descriptor for saying that there are no more
    client       one client connection: request after request
    link         a client, as those see it who bring its requests on
    shortcut     what repeats itself, in one go
    story        what does not, from top to bottom
    memory       heads that were seen before, and what became of them
    exchange     one request: dial, send, sign in, answer
    hop          its next hop: a connection there, and waiting for it
    signing      its sign-in, leg by leg
    refusals     which answers ask for one
    exempt_sites  the sites to which requests go without a login first
    steps        what of it takes its time, in threads
    warming      connections that are signed in ahead, so that a tunnel need not wait for it
    spares       when that is done: the decision
    late_verdicts  what is said about a login after its client has left
    canaries     waiting for a connection that is being signed in ahead
    binding      what binds it to a TLS connection
    relay        the answer on its way back
    way          through which upstream a request goes, or to its target itself
    failover     which of several upstreams, while some are dead
    dial         reaching the next hop: addresses, TLS, SOCKS
    handshake    how TLS fails to begin
    tls          a stream inside TLS, and whose certificates are believed
    socks        SOCKS5 without I/O
    naps         noticing that the computer has slept
    arrival      waiting for the network after that
    stranded     ending what a network that has gone has left behind
    leftover     content behind the head of an answer to HEAD
    sender       the request body on its way, kept in case it must be sent again
    upstream     connections to the next hop: dialling, keeping, reusing
    tunnel       octets in both directions after CONNECT, by splice where the kernel offers it
    pages        the answers that are ours
    date         the Date of answers that came without one

This room may import `http`, `auth`, `routing`, `desk`, `desktop` and proxy.py. No octet of a client
or an upstream ever reaches proxy.py's own HTTP code.
"""

from trayproxy.engine.proxy_py import load_proxy_py_lazily

load_proxy_py_lazily()
