"""Texts for the report of a failed test."""

from collections.abc import Callable

Reports = dict[str, Callable[[], str]]
"""Functions that describe the counterparts of a test, by title; called only if the test fails."""
