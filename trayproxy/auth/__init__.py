"""How one signs in to a proxy, without I/O (RFC 9110, section 11).

`scheme` says what a scheme is and picks the strongest; `basic` (RFC 7617), `digest` (RFC 7616),
`ntlm`, `negotiate` (RFC 4559) and `socks` (RFC 1929) are some, and `schemes` lists those of HTTP;
`windows` is what `ntlm` and `negotiate` have in common;
`login` is what a person types. Which login answers a challenge is decided by
`trayproxy.desk.machine.machine`, and `trayproxy.engine.exchange` carries it there and back.

This room imports `trayproxy.http` and nothing that does I/O, tells the time or makes threads. The
exception is `spnego`, the one module that knows pyspnego, which is imported when it is first needed
and may ask the company's sign-in server for a ticket.
"""
