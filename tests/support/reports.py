"""What is added to the report of a failed test."""

from collections.abc import Callable

Reports = dict[str, Callable[[], str]]
"""What the counterparts of a test have to say, by title; asked only when it fails."""
