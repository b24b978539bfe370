"""The forwarding proxy, on the `Work` contract of proxy.py.

proxy.py gives the listener, the flags and the contract: one `Work` for each client connection,
which says which descriptors it waits for (`get_events`) and is told when they are ready
(`handle_events`).
What it does with them is ours, for the reasons measured in the design: the stock executor polls,
asks every connection on every turn and blocks in `connect`; the stock parser loses repeated fields
and buffers bodies; the stock plugin frames only the first request of a connection.

    front      proxy.py is loaded in part, before anything else of this room is
    executor   proxy.py's executor on a real event loop: O(ready), no polling, no thread
    strand     a connection told as one coroutine that waits in the words of the contract
    stream     a socket that never blocks, and what was read from it but not used yet
    guard      who may connect
    client     one client connection: request after request
    exchange   one request: dial, send, sign in, answer
    sender     the request body on its way, kept in case it must be sent again
    upstream   connections to the next hop: dialling, keeping, reusing
    tunnel     octets in both directions after CONNECT, by splice where the kernel offers it
    pages      the answers that are ours

This room may import `http`, `auth`, `routing`, `desk`, `desktop` and proxy.py. No octet of a client
or an upstream ever reaches proxy.py's own HTTP code.
"""

from trayproxy.engine.front import pass_over

pass_over()
