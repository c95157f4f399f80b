"""What a swap returns."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import nn
from torch.optim import Optimizer

from bevel.errors import InvalidValue
from bevel.surgery import _plan
from bevel.surgery._arguments import listed
from bevel.surgery._blueprint import Blueprint
from bevel.surgery._install import Edits
from bevel.surgery._recipe import Recipe
from bevel.surgery._sites import Sites


@dataclass
class Result:
    """What :func:`swap` did; prints as a table.

    Attributes:
        model: the swapped model: the one given, or its copy with ``inplace=False``.
        sites: every activation site, with ``old`` and ``new``, or the reason why it was left alone.
        unreached: names of activation modules that the example never calls, and of modules it never calls whose own
            forward calls activation functions; nothing is known of them, so they are left as they are.
        optimized: whether the new parameters were added to an optimizer.

    Example:
        >>> import torch, bevel
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 6), torch.nn.ReLU())
        >>> result = bevel.swap(model, "frelu", torch.randn(2, 4))
        >>> list(result.activations), result.sites[0].bound
        (['1'], 0.0)
    """

    model: nn.Module
    sites: Sites
    unreached: tuple[str, ...]
    optimized: bool = field(default=False, init=False)
    _to: object = field(repr=False)
    _blueprint: Blueprint = field(repr=False)
    _recipes: dict[str, Recipe] = field(repr=False)
    _edits: Edits = field(repr=False)

    @property
    def activations(self) -> dict[str, nn.Module]:
        """The new activations by site name."""
        return {site.name: site.module for site in self.sites if site.new and site.module is not None}

    @property
    def parameters(self) -> dict[str, nn.Parameter]:
        """The parameters that the new activations brought along, by qualified name."""
        return {f"{name}.{key}": p for name, m in self.activations.items() for key, p in m.named_parameters()}

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

    def plan(self) -> str:
        """Write the swap as JSON, which :func:`bevel.surgery.apply_plan` does again to a new model of the same kind.

        Returns:
            The plan. It has no weights: those are in the model's ``state_dict``.

        Raises:
            InvalidValue: if the activation was given as a function, which JSON cannot hold.
        """
        return _plan.write(self._to, self.sites, self._blueprint, self._recipes)

    def add_to(self, optimizer: Optimizer) -> None:
        """Add the new parameters to an optimizer, as a group without weight decay; ``restore`` removes it again.

        Args:
            optimizer: the model's; of an ``Alternating`` the activations' one gets them.

        Raises:
            InvalidValue: if it is no optimizer.
        """
        target = getattr(optimizer, "activations_optimizer", optimizer)
        if not isinstance(target, Optimizer):
            raise InvalidValue(f"optimizer must be a torch.optim.Optimizer; got a {type(optimizer).__name__}.")
        named = [(name, p) for name, p in self.parameters.items() if p.requires_grad]
        if not named:
            return
        with_names = "param_names" in target.param_groups[0]
        group = {"params": named if with_names else [p for _, p in named], "name": "activations"}
        target.add_param_group(group | ({"weight_decay": 0.0} if "weight_decay" in target.defaults else {}))
        self._edits.when_undone(lambda: _remove(target, [p for _, p in named]))
        self.optimized = True

    @property
    def unreached_text(self) -> str:
        """A sentence about :attr:`unreached`."""
        return (
            f"what the example never calls is left as it is: {listed(self.unreached)}. Give an example that calls it, "
            "or swap the submodule that it belongs to on its own."
        )

    @property
    def optimizer_text(self) -> str:
        """A sentence about what trains the new parameters."""
        count = len(self.parameters)
        if self.optimized:
            return f"{count} new parameters were added to the optimizer, without weight decay."
        return (
            f"{count} new parameters: an optimizer that was made before does not train them, and weight decay must not "
            "pull on them. Make it anew of bevel.parameter_groups(model, lr), or give swap(…, optimizer=…)."
        )

    def __str__(self) -> str:
        lines = [str(self.sites)]
        lines += [self.unreached_text] if self.unreached else []
        lines += [self.optimizer_text] if self.parameters else []
        return "\n".join(lines)


def _remove(optimizer: Optimizer, parameters: list[nn.Parameter]) -> None:
    """Remove the group of these parameters from an optimizer, and their states."""
    ours = {id(p) for p in parameters}
    optimizer.param_groups[:] = [g for g in optimizer.param_groups if not {id(p) for p in g["params"]} & ours]
    for p in parameters:
        optimizer.state.pop(p, None)
