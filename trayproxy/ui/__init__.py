"""The face with windows: tray icon, sign-in dialog, profile editor.

It owns nothing. What it shows comes from the service as whole states, what a person does goes to
the service as requests (`trayproxy.control.messages`). Killed, it loses no connection and no
question; started again, it shows the same ones.

The only room that imports PySide6; besides it imports `trayproxy.control`, `trayproxy.profiles`,
`trayproxy.auth.login`, `trayproxy.desktop`, `trayproxy.paths` and `trayproxy.identity`.

Apart from Qt, and tested without it: `state` (which icon), `plain` (text from strangers),
`lifeline` (when to start the service again), `manners` (when a notification may be sent).

Rules kept everywhere: no ``exec()`` and no nested loop; text from the network is plain text,
cleaned and shortened; menus are built once and their actions changed; `translate` is called with
a literal context and a literal text, or lupdate does not find it (ux §6.3).
"""
