"""Choose, connect to and keep connections to upstream proxies."""
