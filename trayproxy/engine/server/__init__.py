"""Accepts client connections and runs each of them: executor, access control, client connection."""
