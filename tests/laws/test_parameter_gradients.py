"""Gradients of the parameters where the x of the line would hide them: at ±inf and far out in a tail."""

import pytest
from parameter_gradients import ENDS, TAILS, check_the_ends, check_the_tail

import bevel

BACKENDS = [b for b, reason in bevel.backends().items() if not reason and b != "triton"]  # tests/triton has it


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("function", ENDS)
def test_limits_at_the_ends(function: str, backend: str) -> None:
    check_the_ends(function, backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", TAILS)
def test_alpha_keeps_its_digits_in_the_tail(form: str, backend: str) -> None:
    check_the_tail(form, backend)
