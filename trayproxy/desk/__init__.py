"""The sign-in desk: one question per protection space, and a login that is tried once.

`machine` decides, with the time given to it and without I/O; its parts are `questions` (when a
person is asked), `logins` (where one comes from), `trials` (finding out whether it is right),
`turns` (one request at a time with a login that was not proved lately),
`verdicts` (what it means that a request came back), `choice` (which scheme, and whether that is
safe) and `person` (what people want). They share a `board`, and `views` is what one can see of it.
Its words are `space` (what a login belongs to), `case` (what is known about one protection space),
`events` (what happens to it and what it wants done), `rules` (times and limits) and `rejected`
(logins never to send again by themselves).

`desk` is the machine on an event loop, `offers` reads challenges for it, `answer` is what it gives
a request, `news` what it tells the faces, `problems` what people are told. `store` is what it wants
of a keyring and `vault` the keyring, with `secret_service` and `keyring_errors`; `memory` is what
it remembers between runs.

This room imports `trayproxy.auth`, `trayproxy.http.challenges`, `trayproxy.identity`, the values of
`trayproxy.control.messages` and `trayproxy.profiles.profile`, and how a file is replaced from
`trayproxy.profiles.store`. Only `vault` imports keyring.
"""
