"""What is measured beside accuracy, each measure against its definition; predicted classes in their side file."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from small_trials import trial
from synthetic_records import records
from torch import Tensor, nn

import bevel_lab
from bevel.errors import InvalidValue
from bevel_lab.cli import main
from bevel_lab.data.images.normalize import Normalize
from bevel_lab.data.source import Source
from bevel_lab.datasets import load
from bevel_lab.errors import LabError
from bevel_lab.experiment import predictions
from bevel_lab.experiment.predictions import Predictions
from bevel_lab.experiment.record import Record
from bevel_lab.report.analysis import beside
from bevel_lab.report.analysis.cells import judge_cells
from bevel_lab.report.statistics import comparison
from bevel_lab.report.text import beside as text_beside
from bevel_lab.runtime import inference
from bevel_lab.runtime.inference import available
from bevel_lab.tasks import _measures as measures
from bevel_lab.training.run import run_trial

Batches = list[tuple[Tensor, Tensor]]
NORMALIZE = Normalize([0.5], [0.25], False, torch.device("cpu"))


def _data(count: int = 400, batches: int = 2) -> Batches:
    made = torch.Generator().manual_seed(0)
    images = torch.randint(60, 196, (count, 1, 2, 2), dtype=torch.uint8, generator=made)
    labels = torch.randint(0, 2, (count,), generator=made)
    return list(zip(images.chunk(batches), labels.chunk(batches), strict=True))


def _linear() -> nn.Linear:
    layer = nn.Linear(4, 2)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -0.5, 0.25, 0.0], [-1.0, 0.5, 0.75, 0.5]]))
        layer.bias.copy_(torch.tensor([0.125, -0.25]))
    return layer


def _measured(model: nn.Module, data: Batches, units: measures.Units = ()) -> measures.Measured:
    with torch.no_grad():
        return measures.measure(model, units, NORMALIZE, lambda: data, data[:1])


def test_calibration_error_is_the_weighted_gap_between_confidence_and_accuracy() -> None:
    data = _data()
    model = nn.Sequential(nn.Flatten(), _linear())
    found = _measured(model, data).values["calibration_error"]
    images, labels = (torch.cat(part) for part in zip(*data, strict=True))
    with torch.no_grad():
        confidence, guess = model(NORMALIZE(images)).softmax(1).max(1)
    expected = 0.0
    for k in range(measures.BINS):
        inside = (confidence >= k / measures.BINS) & (confidence < (k + 1) / measures.BINS)
        if k == measures.BINS - 1:
            inside |= confidence == 1
        if inside.any():
            gap = (guess == labels)[inside].double().mean() - confidence[inside].double().mean()
            expected += float(gap.abs() * inside.sum()) / len(labels)
    assert found == pytest.approx(expected, rel=1e-6)
    assert found > 0.01


def test_fgsm_moves_a_linear_models_margin_by_epsilon_times_its_slopes() -> None:
    data = _data()
    model = nn.Sequential(nn.Flatten(), _linear())
    found = _measured(model, data).values
    images, labels = (torch.cat(part) for part in zip(*data, strict=True))
    with torch.no_grad():
        slope = _linear().weight[1] - _linear().weight[0]
        logits = model(NORMALIZE(images))
        margin = (logits[:, 1] - logits[:, 0]) * (2 * labels - 1)
    lost = measures.EPSILON / 255 / 0.25 * float(slope.abs().sum())
    assert found["fgsm_accuracy"] == pytest.approx(float((margin > lost).double().mean()))
    assert found["fgsm_accuracy"] < float((margin > 0).double().mean())


def test_noise_has_the_stated_size_and_is_the_same_for_every_model() -> None:
    seen: list[Tensor] = []
    data = _data(4000, 1)

    class Spy(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x.detach().clone())
            return x.flatten(1)[:, :2]

    for _ in range(2):
        _measured(Spy(), data)
    clean, noisy, again = seen[0], seen[1], seen[len(seen) // 2 + 1]
    assert torch.equal(noisy, again)
    steps = (noisy - clean) * 255 * 0.25
    assert float(steps.std()) == pytest.approx(measures.NOISE, rel=0.02)
    assert abs(float(steps.mean())) < 0.2


def test_what_is_added_stays_within_a_pixels_range() -> None:
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1)
    inputs = NORMALIZE(images)
    assert torch.equal(NORMALIZE.shifted(inputs, torch.tensor([-5.0, 5.0]).view(2, 1, 1, 1)), inputs)


def test_a_dead_unit_is_one_whose_output_does_not_vary() -> None:
    unit = nn.ReLU()
    first = nn.Linear(4, 5)
    with torch.no_grad():
        first.weight.copy_(torch.cat([torch.eye(4), torch.zeros(1, 4)]))
        first.bias.copy_(torch.tensor([-1e3, 1e3, 0.0, 0.0, 2.0]))  # dead below, alive above, alive twice, constant
    model = nn.Sequential(nn.Flatten(), first, unit, nn.Linear(5, 2))
    assert _measured(model, _data(), [(unit, 1)]).values["dead_units"] == 2 / 5
    again = nn.Sequential(nn.Flatten(), first, unit, nn.Linear(5, 2))
    assert _measured(again, _data(batches=8), [(unit, 1)]).values["dead_units"] == 2 / 5


def test_eight_bits_round_weights_and_inputs_and_leave_no_trace() -> None:
    layer = _linear()
    model = nn.Sequential(nn.Flatten(), layer)
    inputs = [NORMALIZE(images) for images, _ in _data()]
    weight = layer.weight.detach().clone()
    with torch.no_grad():
        exact = model(inputs[0])
        with measures.eight_bits(model, inputs):
            rounded, step = layer.weight.data, weight.abs().amax(1, keepdim=True) / 127
            assert 0 < float((rounded - weight).abs().max()) <= float(step.max()) / 2 * (1 + 1e-5)
            assert torch.equal((rounded / step).round(), (weight / step).round())
            found = model(inputs[0])
            span = max(float(x.max()) for x in inputs) - min(0.0, *(float(x.min()) for x in inputs))
            levels = {round(float(v) * 255 / span) for v in _seen_by(layer, model, inputs[0]).unique()}
            assert len(levels) <= 256
        assert torch.equal(layer.weight, weight)
        assert torch.equal(model(inputs[0]), exact)
    assert 0 < float((found - exact).abs().max()) < 0.1
    assert not layer._forward_pre_hooks


def _seen_by(layer: nn.Module, model: nn.Module, inputs: Tensor) -> Tensor:
    seen: list[Tensor] = []
    handle = layer.register_forward_hook(lambda module, given, output: seen.append(given[0]))
    model(inputs)
    handle.remove()
    return seen[0]


def test_a_diverged_model_is_measured_too() -> None:
    model = nn.Sequential(nn.Flatten(), _linear())
    with torch.no_grad():
        model[1].weight.fill_(torch.nan)  # type: ignore[operator,union-attr]
    found = _measured(model, _data())
    assert found.values["noise_accuracy"] == found.values["int8_accuracy"]
    assert set(found.classes) == {0}


# ---------------------------------------------------------------------------------------------------- in an experiment


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    asked = {"activations": ["relu", "sau"], "dataset": "digits", "model": "mlp", "epochs": 2, "seeds": 2,
             "train_limit": 200, "measures": True, "workers": 1}  # fmt: skip
    out = tmp_path_factory.mktemp("measured")
    bevel_lab.run(asked, out=out)
    return out


def test_measures_change_nothing_else_and_the_record_is_read_back(folder: Path) -> None:
    found = bevel_lab.Results.read(folder).records
    assert len(found) == 4
    plain = run_trial(trial("relu", model="mlp", epochs=2, train_limit=200, seed=0, batch_size=32, validation=0.2))
    (same,) = (r for r in found if r.label == "relu" and not r.trial.seed)
    assert same.epochs[-1].validation == plain.epochs[-1].validation
    assert same.test == plain.test
    assert (plain.measures, plain.predictions) == ({}, "")
    assert same.trial.id != plain.trial.id
    assert all(Record.from_json(r.to_json()) == r for r in found)
    names = {"calibration_error", "noise_accuracy", "fgsm_accuracy", "int8_accuracy", "dead_units"}
    assert all(set(r.measures) == names for r in found)
    assert set(found[0].to_row()) >= names
    runtimes = set(available(compiled=False))
    assert {r.trial.seed: set(r.inference) for r in found} == {0: runtimes, 1: set()}
    assert all(seconds > 0 for r in found for seconds in r.inference.values())
    assert "inference" not in same.result


def test_a_runtime_that_fails_costs_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: nn.Module, x: Tensor, runtime: str) -> object:
        if runtime == "eager":
            return lambda: model(x)
        raise RuntimeError("this runtime cannot")

    monkeypatch.setattr(inference, "ready", fail)
    record = run_trial(trial("relu", epochs=1, seed=0, measures=True))
    rest = [name for name in inference.available(compiled=False) if name != "eager"]
    assert set(record.inference) == {"eager"}
    assert record.data.get("inference_failed", "") == ", ".join(f"in {name} (RuntimeError)" for name in rest)


def test_the_report_has_inference_as_a_multiple_of_the_references(folder: Path) -> None:
    found = bevel_lab.Results.read(folder).records
    times = {"relu": {"eager": 2e-3, "onnxruntime": 1e-3}, "sau": {"eager": 3e-3}}
    (cell,) = judge_cells(
        [dataclasses.replace(r, inference={} if r.trial.seed else times[r.label]) for r in found], "relu"
    )
    *_, table = text_beside.tables(cell, {})
    assert table.title == "Inference with one sample: mlp on digits"
    assert table.lines == [
        ("activation", "eager × relu (ms)", "onnxruntime × relu (ms)"),
        ("relu", "1.00 (2)", "1.00 (1)"),
        ("sau", "1.50 (3)", "–"),
    ]


def test_predicted_classes_lie_beside_the_ledger_and_give_the_accuracy(folder: Path) -> None:
    truth = load("digits", Source()).test.labels.tolist()
    for record in bevel_lab.Results.read(folder).records:
        classes = predictions.read(folder, record.predictions)
        assert classes is not None
        assert len(classes) == len(truth)
        right = sum(a == b for a, b in zip(classes, truth, strict=True))
        assert right / len(truth) == pytest.approx(record.test["accuracy"])


def test_a_damaged_side_file_is_named(tmp_path: Path) -> None:
    one = Predictions.of([1, 2, 3])
    one.write(tmp_path)
    found = predictions.read(tmp_path, one.digest)
    assert found is not None
    assert found.tolist() == [1, 2, 3]
    assert predictions.read(tmp_path, "0" * 16) is None
    path = tmp_path / predictions.FOLDER / one.digest
    for content in (b"no", Predictions.of([1, 2, 4]).data):
        path.write_bytes(content)
        with pytest.raises(LabError, match=f"{one.digest} is damaged"):
            predictions.read(tmp_path, one.digest)


def test_a_task_without_measures_says_so() -> None:
    with pytest.raises(InvalidValue, match="measures must be false for pde, got True"):
        run_trial(trial("tanh", model="pde_mlp", dataset="poisson_1d", task="pde", measures=True))


# --------------------------------------------------------------------------------------------------------- in a report


def test_the_report_judges_every_measure_and_shows_churn(folder: Path, tmp_path: Path) -> None:
    found = bevel_lab.Results.read(folder)
    assert len(found.classes) == 4
    out = found.report(tmp_path / "report")
    html, table = out.read_text(encoding="utf-8"), (out.parent / "table.md").read_text(encoding="utf-8")
    for text in (html, table):
        assert "Beside accuracy: mlp on digits" in text
        assert text.count("calibration error") >= 2
        assert "Predictions that change with the seed: mlp on digits" in text
        assert "Inference with one sample: mlp on digits" in text
    compact = tmp_path / "kept" / "all.jsonl"
    assert main(["report", str(folder), "--compact", str(compact)]) == 0
    again = bevel_lab.Results.read(compact)
    assert {d: list(c) for d, c in again.classes.items()} == {d: list(c) for d, c in found.classes.items()}
    assert again.judgement.table() == found.judgement.table()


def test_lower_is_better_for_calibration_error_and_dead_units() -> None:
    made = records(["relu", "gelu"], seeds=8)
    gain = {"calibration_error": 0.02, "dead_units": 0.02, "fgsm_accuracy": -0.02}
    measured = [
        dataclasses.replace(r, measures={key: 0.5 + r.trial.seed / 100 + (r.label == "gelu") * by + r.test["loss"] / 99
                                         for key, by in gain.items()}) for r in made
    ]  # fmt: skip
    (cell,) = judge_cells(measured, "relu")
    said = {found.metric.key: found.others[0][1].verdict for found in beside.measures(cell)}
    assert said == dict.fromkeys(gain, comparison.Verdict.WORSE)
    (plain,) = judge_cells(made, "relu")
    assert beside.measures(plain) == []


def test_churn_is_the_mean_over_pairs_with_an_interval_that_holds_it() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 10, 2000)
    runs = [np.where(rng.random(2000) < 0.1, rng.integers(0, 10, 2000), truth) for _ in range(10)]
    found = beside.churn("relu", runs)
    pairs = [float((a != b).mean()) for a, b in itertools.combinations(runs, 2)]
    assert found.share == pytest.approx(np.mean(pairs), rel=1e-12)
    assert found.low < found.share < found.high < found.low + 0.03
    few = beside.churn("relu", runs[:4])
    assert math.isnan(few.low)
    assert few.runs == 4


@pytest.mark.parametrize("count", [5, 10])
def test_churns_interval_covers_the_truth(count: int) -> None:
    """Each run errs at random on its own share of the samples; two runs disagree where one of them errs."""
    rng = np.random.default_rng(count)
    inside = 0
    for _ in range(200):
        rates = rng.uniform(0.05, 0.15, count)
        runs = [np.where(rng.random(4000) < rate, 1 + run, 0) for run, rate in enumerate(rates)]
        found = beside.churn("relu", runs)
        inside += found.low <= 0.1 + 0.1 - 0.1 * 0.1 <= found.high
    assert inside >= {5: 150, 10: 170}[count]
