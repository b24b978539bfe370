"""Chooses upstreams, connects to them, and pools idle connections."""
