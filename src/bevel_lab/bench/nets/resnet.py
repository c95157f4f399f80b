"""ResNet-18 and ResNet-50 (He et al. 2015); the 50 has its stride on the 3 × 3 convolution, as torchvision has it."""

from __future__ import annotations

from torch import Tensor, nn

WIDTHS = (64, 128, 256, 512)
DEPTHS = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3)}


class Block(nn.Module):
    """Convolutions beside a shortcut; one in-place ReLU serves all of the block's call sites.

    Args:
        inputs: channels of the input.
        layers: (channels, size of the kernel, stride) of each convolution.
    """

    def __init__(self, inputs: int, layers: tuple[tuple[int, int, int], ...]) -> None:
        super().__init__()
        sizes = [inputs, *(width for width, _, _ in layers)]
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, width, size, stride, padding=size // 2, bias=False)
            for before, (width, size, stride) in zip(sizes, layers, strict=False)
        )
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width, _, _ in layers)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        stride = max(stride for _, _, stride in layers)
        if stride != 1 or inputs != sizes[-1]:
            convolution = nn.Conv2d(inputs, sizes[-1], 1, stride, bias=False)
            self.shortcut = nn.Sequential(convolution, nn.BatchNorm2d(sizes[-1]))

    def forward(self, x: Tensor) -> Tensor:
        y, last = x, len(self.norms) - 1
        for i, (convolution, norm) in enumerate(zip(self.convolutions, self.norms, strict=True)):
            y = norm(convolution(y))
            y = self.relu(y if i < last else y + self.shortcut(x))
        return y


def resnet(depth: int, classes: int = 1000, divide: int = 1) -> nn.Sequential:
    """Build the network; ``divide`` makes every layer that many times narrower, for a rehearsal."""
    inputs = WIDTHS[0] // divide
    layers: list[nn.Module] = [
        nn.Conv2d(3, inputs, 7, 2, padding=3, bias=False),
        nn.BatchNorm2d(inputs),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, 2, padding=1),
    ]
    for stage, blocks in enumerate(DEPTHS[depth]):
        width = WIDTHS[stage] // divide
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            of_18 = ((width, 3, stride), (width, 3, 1))
            of_50 = ((width, 1, 1), (width, 3, stride), (4 * width, 1, 1))
            layers.append(Block(inputs, of_18 if depth == 18 else of_50))
            inputs = width if depth == 18 else 4 * width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))
