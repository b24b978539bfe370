"""The demonstration, ``trayproxy demo``: TrayProxy's main use case on a single computer, without a
change to the user's settings or keyring.

It consists of a small company network on loopback (`company_network`: a web site behind two
upstream proxies), a temporary home with the real service and the real tray (`surroundings`), and
two ways to run the use case: automatically, with a check of each step (`script`), or by the user
(`guide`).

The package is a front end with its own upstream: it imports `trayproxy.control`, the values in the
messages, and `trayproxy.paths`. The service and the tray are separate processes, started with the
usual commands.
"""
