"""The system proxy: set, watched and restored by the service."""
