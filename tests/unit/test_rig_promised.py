"""The tests' own measure of promises in seconds."""

import time

import pytest

from rig.promised import Pace, within
from rig.waiting import wait_until


def test_what_comes_late_breaks_its_promise_and_what_comes_at_once_keeps_it() -> None:
    late = time.monotonic() + 1.5
    with pytest.raises(AssertionError, match=r"promised are 0\.01 s"):
        within(0.01, lambda: time.monotonic() > late)
    within(1, lambda: True)


def test_what_never_comes_true_is_a_timeout_with_what_was_there() -> None:
    with pytest.raises(TimeoutError, match=r"after 0.1 s: two are left"):
        wait_until(lambda: False, seconds=0.1, told=lambda: "two are left")


def test_a_machine_is_never_quicker_than_quiet() -> None:
    with Pace() as pace:
        assert pace.slowness >= 1
    assert pace.slowness >= 1
