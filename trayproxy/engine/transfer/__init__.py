"""Move the octets of requests, responses and tunnels."""
