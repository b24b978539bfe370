"""Deny other users access to a folder that has no private parent, on each operating system."""
