"""Which way a request goes: through the upstream proxy of a profile, or directly.

`bypass` reads the rules of a profile and decides what they say about a host, `route` turns that
into a `Route`. Pure and without I/O, DNS included. This room imports `trayproxy.profiles` and
nothing else of TrayProxy.
"""
