"""HTTP/1.1 as a forwarding proxy sees it (RFC 9110, RFC 9112), without I/O.

Octets go in, values come out, and the other way round. Every head is read strictly and written
anew: a received head is never sent on as it came, so nobody downstream or upstream can read another
message in it than the one that was checked here. All functions are pure and take linear time.

    heads      where a head ends, and refusing what is not HTTP before it ends
    fields     the field lines of a head or of trailers
    target     the request-target and its authority
    request    reads and writes the head of a request
    response   reads and writes the head of a response
    hops       what belongs to one connection only, and Via
    lenient    line ends and folded lines that only answers may have
    framing    how long the content of a message is
    body       content as it arrives: counted, chunked, or up to the end of the connection
    challenges Proxy-Authenticate
    limits     how much of anything is too much
    errors     the one exception

This room imports nothing of ours, and nothing that does I/O, tells the time or makes threads.
"""
