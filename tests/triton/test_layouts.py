"""How tensors are cut into tiles, and the sums of parameters' gradients into trips: numbers alone."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from bevel.ops._layout import dense_view
from bevel.ops.triton import layout
from bevel.ops.triton.layout import Tuning
from bevel.ops.triton.totals import adding


@pytest.mark.parametrize(
    ("tensor", "dim", "view"),
    [
        (torch.empty(2, 3, 4, 5), 1, (2, 3, 20)),
        (torch.empty(2, 3, 4, 5).to(memory_format=torch.channels_last), 1, (40, 3, 1)),
        (torch.empty(2, 7, 3), 2, (14, 3, 1)),
        (torch.empty(4, 5, 3, 2).permute(3, 2, 0, 1), 1, (20, 3, 2)),
        (torch.empty(3, 1, 5), 0, (1, 3, 5)),
        (torch.empty(2, 3, 8)[..., ::2], 1, None),
        (torch.empty(1, 3).expand(4, 3), 1, None),
    ],
    ids=["nchw", "channels_last", "btc", "permuted", "channels_first", "strided", "expanded"],
)
def test_views(tensor: Tensor, dim: int, view: tuple[int, int, int] | None) -> None:
    assert dense_view(tensor.shape, tensor.stride(), dim, True) == view
    shared = dense_view(tensor.shape, tensor.stride(), dim, False)
    assert shared == (None if view is None else (1, 1, tensor.numel()))


VIEWS = [(1, 1, 1), (1, 1, 10**10), (2, 3, 49), (256, 512, 49), (1, 64, 10**6), (8, 64, 10**6), (4096, 7, 1)]
MOST, TILE = 132 * 32, Tuning().tile


@pytest.mark.parametrize("view", VIEWS)
def test_tilings_cover_every_element_once(view: tuple[int, int, int]) -> None:
    outer, channels, inner = view
    cut = layout.tiling(*view, MOST, TILE)
    numbers = dict(zip(layout.ARGUMENTS[cut.kind], cut.numbers, strict=True))
    trips, stride, walks = numbers["trips"], numbers["stride"], cut.programs // numbers["stride"]
    assert cut.programs == walks * stride
    assert 1 <= stride <= trips
    assert cut.rows * cut.columns <= TILE
    assert cut.divisor in (1, 2, 4, 8, 16)
    along = {"flat": inner * outer, "inner": inner, "columns": outer}.get(cut.kind, outer)
    step = {"flat": cut.columns, "inner": cut.columns, "columns": cut.rows}.get(cut.kind, 1)
    assert (trips - 1) * step < along <= trips * step
    # a walk has at least as many trips as its tile has neighbours, so partial sums stay few
    assert cut.partials * channels <= max(3 * MOST, channels * outer * inner // 16 + channels)


@pytest.mark.parametrize("tile", [TILE, TILE // 2, TILE // 4])
def test_the_second_stage_takes_four_trips_at_most(tile: int) -> None:
    """In any layout that a GPU's memory holds, on chips of few and of many processors, for each of the tiles' sizes."""
    lengths = (1, 2, 3, 7, 8, 49, 64, 196, 768, 3136, 4096, 10**5, 10**6, 10**8)
    held = [v for v in itertools.product(lengths, lengths, lengths) if math.prod(v) <= 3 << 34]
    assert len(held) > 1000
    for view, processors, per in itertools.product(held, (1, 16, 132, 148), (4, 32)):
        channels = view[1]
        cut = layout.tiling(*view, processors * per, tile)
        second = adding(cut.partials, channels)
        assert second.trips <= 4, (view, cut)
        assert (second.trips - 1) * second.rows < cut.partials <= second.trips * second.rows
        assert (second.blocks - 1) * second.columns < channels <= second.blocks * second.columns


def test_a_grid_is_one_wave_or_three() -> None:
    """Whatever a program's registers leave, but where a walk has too few trips to be shared."""
    for view, registers in itertools.product([*VIEWS, (64, 4096, 64), (9, 8000, 100)], (40, 64, 72, 96, 135, 255)):
        most = 132 * min(32, layout.resident(registers, 1))
        cut = layout.tiling(*view, most, TILE)
        trips, stride = cut.numbers[-2:]
        assert cut.programs <= most or cut.programs >= 3 * most or stride == trips, (view, registers)
    assert [layout.resident(r, 1) for r in (32, 64, 72, 96, 168)] == [64, 32, 28, 20, 12]
    assert layout.resident(72, 4) == 7
