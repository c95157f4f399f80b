"""Alternating under Lightning and Accelerate: the same numbers as a plain loop."""

from pathlib import Path
from typing import Any

import pytest
import torch
from needs import needs
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import bevel
from bevel.training import Alternating, parameter_groups

pytestmark = [
    pytest.mark.network,  # the imports alone take ten seconds
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # the trainers' own, and those of what they import
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


def _model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), bevel.FReLU(6), nn.Linear(6, 1))


def _optimizer(model: nn.Module) -> Alternating:
    weights, slopes = parameter_groups(model, lr=0.1, weight_decay=0.1, activation_lr=0.05)
    return Alternating(
        torch.optim.SGD([weights], momentum=0.9), torch.optim.AdamW([slopes]), weights_steps=2, activation_steps=1
    )


def _data() -> DataLoader[Any]:
    x = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
    return DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=8)


def _loss(model: nn.Module, batch: Any) -> Tensor:
    x, y = batch
    return (model(x) - y).square().mean()


def _plain(epochs: int) -> tuple[nn.Module, Alternating, list[float]]:
    model = _model()
    optimizer = _optimizer(model)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    for _ in range(epochs):
        for batch in _data():
            optimizer.zero_grad()
            _loss(model, batch).backward()
            optimizer.step()
        scheduler.step()
    return model, optimizer, [g["lr"] for g in optimizer.param_groups]


def _same(a: nn.Module, b: nn.Module) -> None:
    for p, q in zip(a.parameters(), b.parameters(), strict=True):
        torch.testing.assert_close(p, q)


@needs("lightning")
@pytest.mark.filterwarnings("ignore::UserWarning")  # advice on the number of workers and loggers
def test_lightning(tmp_path: Path) -> None:
    import lightning

    class Module(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.model = _model()

        def training_step(self, batch: Any, index: int) -> Tensor:
            return _loss(self.model, batch)

        def configure_optimizers(self) -> Any:
            optimizer = _optimizer(self.model)
            return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)]

    def fit(epochs: int, module: Module, checkpoint: str | None = None) -> lightning.Trainer:
        trainer = lightning.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            enable_checkpointing=False,
            default_root_dir=tmp_path,
        )
        trainer.fit(module, _data(), ckpt_path=checkpoint, weights_only=False)
        return trainer

    model, optimizer, rates = _plain(3)
    straight = Module()
    trainer = fit(3, straight)
    _same(straight.model, model)
    assert trainer.optimizers[0].phase == optimizer.phase
    assert [g["lr"] for g in trainer.optimizers[0].param_groups] == pytest.approx(rates)

    first = Module()
    fit(2, first).save_checkpoint(tmp_path / "two.ckpt")  # 10 steps: inside a cycle of three
    resumed = Module()
    fit(3, resumed, str(tmp_path / "two.ckpt"))
    _same(resumed.model, model)


@needs("accelerate")
def test_accelerate(tmp_path: Path) -> None:
    import accelerate

    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=2)
    model, loader = _model(), _data()
    optimizer = _optimizer(model)
    model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
    twin = _model()
    plain = _optimizer(twin)
    for _ in range(2):
        for index, batch in enumerate(loader):
            with accelerator.accumulate(model):
                accelerator.backward(_loss(model, batch))
                optimizer.step()
                optimizer.zero_grad()
            (_loss(twin, batch) / 2).backward()
            if index % 2 or index == len(loader) - 1:
                plain.step()
                plain.zero_grad()
    _same(model, twin)
    assert optimizer.optimizer.phase == plain.phase
    accelerator.save_state(str(tmp_path))
    optimizer.optimizer.param_groups[0]["alternating_count"] = 0
    accelerator.load_state(str(tmp_path))
    counts = [found.param_groups[0]["alternating_count"] for found in (optimizer.optimizer, plain)]
    assert counts[0] == counts[1] > 0
