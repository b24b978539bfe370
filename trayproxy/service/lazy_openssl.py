"""Starts the service without OpenSSL, which takes 5 MiB of memory and 30 ms of the start."""


def import_without_openssl() -> None:
    """Import what would load OpenSSL for nothing; to be called before asyncio is imported."""
    from trayproxy.engine.proxy_py import import_without_openssl as import_parts

    import_parts()
