"""What TrayProxy is called by the systems it meets.

The application id names it on the desktop, on D-Bus and in the keyring. It never changes: entries
in people's keyrings are found by it.
"""

APP_ID = "io.github.trayproxy.TrayProxy"
"""Reverse-DNS id (Desktop Entry Specification, "File naming")."""

APP_NAME = "TrayProxy"
"""The name as a person reads it."""
