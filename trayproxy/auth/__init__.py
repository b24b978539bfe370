"""How one signs in to a proxy, without I/O (RFC 9110, section 11; RFC 7617; RFC 1929).

`scheme` says what a scheme is and picks the strongest, `basic` is one, `conversation` drives a
request through its challenges, `login` is what a person types. This room imports
`trayproxy.http.challenges` and nothing that does I/O, tells the time or makes threads.
"""
