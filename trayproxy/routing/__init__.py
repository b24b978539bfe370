"""The bypass rules: which hosts are reached directly instead of through the upstream proxy.

`bypass` parses the rules of a profile and matches hosts against them, without I/O and without
looking up names. This package imports `trayproxy.profiles` and no other package of TrayProxy.
"""
