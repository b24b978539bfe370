"""Authentication schemes for upstream proxies, without I/O (RFC 9110, section 11).

`scheme` defines the protocol of a scheme and selects the strongest scheme. `basic` (RFC 7617),
`digest` (RFC 7616), `ntlm`, `negotiate` (RFC 4559) and `socks` (RFC 1929) implement schemes;
`schemes` lists the HTTP schemes. `windows` contains the code shared by `ntlm` and `negotiate`, and
`login` the user name and password. `trayproxy.desk.machine.machine` decides which login answers a
challenge, and `trayproxy.engine.forward.forwarder` sends the credentials and reads the response.

This package imports `trayproxy.http` and no module with I/O, clocks or threads. The exception is
`spnego`, the adapter for pyspnego: it imports pyspnego on first use, and may request a ticket from
the company's sign-in server.
"""
