"""The number of examples of a Hypothesis test, in proportion to the profile."""

from hypothesis import settings

_USUAL = 100
"""``max_examples`` of Hypothesis's own profile."""


def examples(count: int) -> settings:
    """Return the settings for a number of examples; the profile ``unit`` runs a part of them."""
    assert settings.default is not None
    part = settings.default.max_examples / _USUAL
    return settings(max_examples=max(1, round(count * part)), deadline=None)
