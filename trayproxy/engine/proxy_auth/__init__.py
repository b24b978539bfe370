"""Authenticate requests to an upstream proxy (RFC 9110, section 11.7)."""
