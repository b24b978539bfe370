"""The sign-in desk: one question per protection space, and a login that is tried once.

`machine` decides, with the time given to it and without I/O; its words are `space` (what a login
belongs to), `case` (what is known about one protection space), `events` (what happens to it and
what it wants done), `rules` (times and limits) and `rejected` (logins never to send again by
themselves). `desk` is the machine on an event loop, `answer` what it gives a request, `news` what
it tells the faces, `problems` what people are told. `store` is what it wants of a keyring and
`vault` the keyring, with `secret_service` and `keyring_errors`.

This room imports `trayproxy.auth`, `trayproxy.http.challenges`, `trayproxy.identity` and the values
of `trayproxy.control.messages` and `trayproxy.profiles.profile`. Only `vault` imports keyring.
"""
