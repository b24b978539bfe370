"""How one signs in to a proxy, without I/O (RFC 9110, section 11; RFC 7617).

The schemes, and the conversation that picks one and drives it. This room imports `trayproxy.http`
and nothing that does I/O, tells the time or makes threads.
"""
