"""The system proxy of each desktop, as targets of `trayproxy.system_settings`."""
