"""Starts TrayProxy when the user logs in (ux §2g)."""
