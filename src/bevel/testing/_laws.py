"""How a law is stated and checked."""

from __future__ import annotations

from torch import Tensor


def expect(law: str, holds: bool | Tensor, detail: str) -> str:
    """Return the law's name if it holds, else raise an AssertionError that names it."""
    if not bool(holds):
        raise AssertionError(f"law broken: {law}: {detail}")
    return law


def close(law: str, got: Tensor, want: Tensor, tolerance: float) -> str:
    """Check that two tensors agree to an absolute tolerance."""
    error = float((got - want).detach().abs().max()) if got.numel() else 0.0
    return expect(law, error <= tolerance, f"error {error:.2e} exceeds {tolerance:.0e}")
