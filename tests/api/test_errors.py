"""Errors of the API."""

from __future__ import annotations

import pytest

from hawser.api import errors
from hawser.api.errors import APIError, ignoring


def test_errors_with_the_codes_that_are_named_are_ignored_and_no_others() -> None:
    with ignoring(404, 409):
        raise errors.not_found("", "pods", "p")
    with pytest.raises(APIError, match="pods"), ignoring(409):
        raise errors.not_found("", "pods", "p")
    with pytest.raises(ValueError, match="other"), ignoring(404):
        raise ValueError("other")
