"""The graphical client of the service: tray icon, sign-in dialog and profiles window.

The tray stores nothing. The service sends its state as complete messages, and each user action
becomes a request to the service (`trayproxy.control.messages`). When the tray is killed, no
connection and no prompt is lost; a restarted tray shows the same prompts.

This is the only package that imports PySide6. It also imports `trayproxy.control`,
`trayproxy.profiles`, `trayproxy.auth.login`, `trayproxy.desktop`, `trayproxy.paths` and
`trayproxy.identity`.

These modules do not import Qt and are tested without it: `icon_track` (which icon to show),
`text_sanitizer` (untrusted text), `restart_policy` (when to restart the service),
`notification_policy` (when a notification may be shown) and `traffic_rate`.

Rules for the whole package: no ``exec()`` and no nested event loop; text from the network is shown
as plain text, sanitized and truncated; menus are built once and only their actions change;
`translate` is called with a literal context and a literal text, because lupdate finds no others
(ux §6.3).
"""
