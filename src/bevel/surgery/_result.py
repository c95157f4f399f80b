"""What a swap returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn

from bevel.surgery._arguments import listed
from bevel.surgery._install import Edits
from bevel.surgery._sites import Sites


@dataclass
class Result:
    """What :func:`swap` did; prints as a table.

    Attributes:
        model: the swapped model: the one given, or its copy with ``inplace=False``.
        sites: every activation site, with ``old`` and ``new``, or the reason why it was left alone.
        unreached: names of activation modules that the example never calls, so that nothing is known of them; they
            are left as they are.
    """

    model: nn.Module
    sites: Sites
    unreached: tuple[str, ...]
    _edits: Edits = field(repr=False)

    @property
    def activations(self) -> dict[str, nn.Module]:
        """The new activations by site name."""
        return {site.name: site.module for site in self.sites if site.new and site.module is not None}

    def restore(self) -> nn.Module:
        """Put the old activations back: the same objects in the same places, in the model's present mode.

        Trained weights stay as they are now; if the model was moved or cast since, the old activations are too.

        Returns:
            The model.

        Raises:
            InvalidValue: if the model's activations were changed since.
        """
        self._edits.undo()
        return self.model

    @property
    def unreached_text(self) -> str:
        """A sentence about :attr:`unreached`."""
        return (
            f"what the example never calls is left as it is: {listed(self.unreached)}. Give an example that calls it, "
            "or swap the submodule that it belongs to on its own."
        )

    def __str__(self) -> str:
        return "\n".join([str(self.sites), *([self.unreached_text] if self.unreached else [])])
