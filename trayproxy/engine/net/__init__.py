"""Sockets, TLS, SOCKS5 and readiness of file descriptors, without any knowledge of requests."""
