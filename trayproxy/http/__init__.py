"""HTTP/1.1 parsing and serialization for a forwarding proxy (RFC 9110, RFC 9112), without I/O.

Each head is parsed strictly and serialized again; a received head is never forwarded unchanged.
Therefore neither the upstream nor the client can parse the forwarded head as another message than
the checked message. All functions are pure and take linear time.

    heads          the end of a head, and early refusal of anything other than HTTP
    fields         the field lines of a head or of trailers
    target         the request-target and its authority
    request        parsing and serialization of request heads
    response       parsing and serialization of response heads
    hop_by_hop     hop-by-hop fields, and Via
    lenient_lines  lenient line ends and folded lines in responses
    framing        the length of the content of a message
    body           readers of content: counted, chunked, or until the connection closes
    challenges     Proxy-Authenticate
    limits         limits for sizes and counts
    errors         the exceptions

This package imports no other package of TrayProxy and no module with I/O, clocks or threads.
"""
