"""The base of all modules of ``bevel.nn``."""

from __future__ import annotations

from torch import nn

from bevel.errors import BevelError


class Module(nn.Module):
    """A module that can be reset, and that says so where it cannot be scripted."""

    def reset_parameters(self) -> None:
        """Set every parameter to its initial value; a module without any has nothing to do."""

    def __prepare_scriptable__(self) -> nn.Module:
        """Refuse ``torch.jit.script``, which asks every module for what to script in its place."""
        raise BevelError(
            f"torch.jit.script cannot compile {type(self).__name__}; torch.export.export and torch.compile can."
        )
