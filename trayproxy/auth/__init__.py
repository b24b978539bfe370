"""How one signs in to a proxy, without I/O (RFC 9110, section 11; RFC 7617; RFC 1929).

`scheme` says what a scheme is and picks the strongest, `basic` and `socks` are some, `login` is
what a person types. Which login answers a challenge is decided by `trayproxy.desk.machine`, and
`trayproxy.engine.exchange` carries it there and back. This room imports `trayproxy.http.challenges`
and nothing that does I/O, tells the time or makes threads.
"""
