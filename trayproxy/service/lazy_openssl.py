"""Starts the service without OpenSSL, which costs 5 MiB of memory and 30 ms at the start."""


def import_without_openssl() -> None:
    """Import the modules that would load OpenSSL needlessly; call this before importing asyncio."""
    from trayproxy.engine.proxy_py import import_without_openssl as import_parts

    import_parts()
