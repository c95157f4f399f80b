"""The fixed sharpness of a module as a part of its state: moved, copied, averaged, saved and loaded with it."""

from __future__ import annotations

import dataclasses
import math
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from bevel._torch_private import StatefulModule, modes_paused, own_buffer, own_tensors, read_number, readable
from bevel.errors import InvalidValue
from bevel.family import Affine, Family, parameter
from bevel.kernel import SHARP
from bevel.ops._text import shared
from bevel.terms import as_one_sharpness

_OLD_FILE = (
    "the state that is loaded holds no sharpness n of fixed-n activations, since it was saved before n was part of it; "
    "they keep the n that they were made with. If a SharpnessSchedule had moved it, call module.set_sharpness(n)."
)


def _as_buffer(n: float, device: torch.device | str | int | None) -> Tensor:
    try:
        return torch.full((1,), n, dtype=torch.float64, device=device)
    except TypeError:  # a device without float64, as Apple's
        return torch.full((1,), n, dtype=torch.float32, device=device)


class FixedSharpness(StatefulModule):
    """Keeps a family's n, where it is a number, in the buffer ``n``: float64 whatever the module's dtype, one element.

    On a device that has no float64 it is float32.

    On the CPU the number is read at each call, which costs less than a parameter would, and every backend computes with
    it as with any constant. Reading it elsewhere would wait for the device; there, and where something traces the call,
    the functions take the buffer itself, so that a change of n needs no new graph and no new program.
    """

    n: Tensor
    arguments: tuple[str, ...] = ()
    _initial: dict[str, float | Tensor]
    values: Callable[[], list[Tensor]]
    _family: Family
    _family_of_buffer: Family  # the same with n as its last parameter
    _place: torch.device | str | int | None = None  # where the buffer is made, if there are no parameters to ask

    @property
    def family(self) -> Family:
        """The function, its coefficients as expressions of the parameters; a fixed n as the number that it is now."""
        n = own_buffer(self, "n")
        if n is not None and not n.is_meta and not torch.compiler.is_compiling():
            self._read(n)
        return self._family

    @family.setter
    def family(self, family: Family) -> None:
        self._family = family = shared(family)
        if isinstance(family.n, Affine) or family.kernel is SHARP:
            if own_buffer(self, "n") is not None:
                del self.n, self._initial["n"]
            return
        of_buffer = shared(dataclasses.replace(family, n=parameter(len(self.arguments))))
        if own_buffer(self, "n") is None:
            self._initial["n"] = family.n
            place = next((p.device for p in self.values()), self._place)
            with torch.inference_mode(False):
                self.register_buffer("n", _as_buffer(family.n, place))
        self._family_of_buffer = of_buffer
        with torch.no_grad():
            self.n.fill_(family.n)

    def _read(self, n: Tensor) -> bool:
        """Take over the number that the buffer holds now; False if it cannot be read here."""
        number = read_number(n)
        if number is None:
            return False
        if number != self._family.n:
            self._family = dataclasses.replace(self._family, n=number)
        return True

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        for name in {"_family", "_family_of_buffer"} & state.keys():
            setattr(self, name, shared(state[name]))  # a process that loads it knows others
        if "family" in self.__dict__:  # a module that was pickled before n was a buffer
            self.family = self.__dict__.pop("family")

    @torch.no_grad()
    def set_sharpness(self, n: float) -> None:
        """Set n in place, whether it is learnt or fixed, and wait for no device.

        Args:
            n: the sharpness, finite and > 0.

        Raises:
            InvalidValue: for another n, or an activation that is not smoothed and so has none.
        """
        learnt, fixed, number = self.learnt_sharpness(), own_buffer(self, "n"), as_one_sharpness(n)
        if learnt is not None:
            learnt.fill_(math.log(number) if self._family.log_n else number)
        elif fixed is not None:
            fixed.fill_(number)
        else:
            raise InvalidValue(f"only a smoothed activation has a sharpness; {type(self).__name__} has none.")

    def learnt_sharpness(self) -> Tensor | None:
        """Return the parameter that holds n, or its logarithm where the family has ``log_n``; None if n is fixed."""
        slot = self._family.n
        return self.values()[slot.weights[0][0]] if isinstance(slot, Affine) else None

    def present_sharpness(self) -> str | None:
        """Write n as it is now, a range where channels differ; None where its values cannot be read here."""
        with modes_paused():
            values = self.values()
            if not all(map(readable, (*values, *self.buffers()))):
                return None
            n = self.family.coefficients([p.detach().cpu().double() for p in values])[1]
            low, high = (float(n.min()), float(n.max())) if isinstance(n, Tensor) else (n, n)
        return f"{low:g}" if f"{low:g}" == f"{high:g}" else f"{low:g}..{high:g}"

    def at_call(self, input: Tensor, eager: bool) -> tuple[Family, list[Tensor]]:
        """Return the family and its parameters for a call with ``input``; an eager one takes the shortest way."""
        parameters, buffers = own_tensors(self)
        n = buffers.get("n")
        if eager and (n is None or (type(n) is Tensor and n.is_cpu and not n.requires_grad)):
            if n is not None and n.item() != self._family.n:
                self._read(n)
            try:
                return self._family, list(map(parameters.__getitem__, self.arguments))
            except KeyError:  # parametrized or replicated: the name stands for a tensor that is made of others
                return self._family, self.values()
        if n is None:
            return self._family, self.values()
        if torch.compiler.is_compiling() or n.requires_grad:
            return self._family_of_buffer, [*self.values(), n.to(input.device)]
        if n.is_cpu:
            if self._read(n):
                return self._family, self.values()
            # the buffer itself where it can be: a transform of torch.func would wrap what it sees being made
            return self._family_of_buffer, [*self.values(), n if input.device == n.device else n.to(input.device)]
        # A copy, for backward: DistributedDataParallel writes to buffers between two forwards.
        return self._family_of_buffer, [*self.values(), n.detach().clone()]

    def convert(self, t: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
        """Move the buffer but keep its dtype: in half precision n = 70000 is infinite, and 20001 is 20000."""
        if t is not own_buffer(self, "n"):
            return change(t)
        try:
            moved = change(t)
        except TypeError:  # a device without float64, as Apple's
            return change(t.float())
        return moved if moved.dtype == t.dtype else t.to(moved.device)

    def complete(self, state: Mapping[str, Any], prefix: str) -> Mapping[str, Any]:
        """Add n to a state that was saved before n was part of it; one without any of this module's keys is no such."""
        key = prefix + "n"
        others = [prefix + name for name, _ in self.named_parameters()]
        if own_buffer(self, "n") is None or key in state or (others and not any(name in state for name in others)):
            return state
        warnings.warn(_OLD_FILE, stacklevel=2)
        return {**state, key: torch.tensor([self._family.n], dtype=torch.float64)}
