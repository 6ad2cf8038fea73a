"""What a test does about a real part that is missing."""

import os
from typing import NoReturn

import pytest


def unavailable(reason: object) -> NoReturn:
    """A real part is missing: the test is skipped, and with CI=true it fails."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI needs this: {reason}", pytrace=False)
    pytest.skip(str(reason))
