"""The names by which other systems identify TrayProxy.

The application id is used on the desktop, on D-Bus and in the keyring. It must never change:
entries in users' keyrings are found by it.
"""

APP_ID = "io.github.trayproxy.TrayProxy"
"""The reverse-DNS id (Desktop Entry Specification, "File naming")."""

APP_NAME = "TrayProxy"
"""The name of the application as shown to the user."""
