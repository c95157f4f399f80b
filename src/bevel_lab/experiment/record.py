"""The record of a trial. The dataclass is the file format: each line of a ledger is one JSON object."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

from bevel_lab.experiment.measures import written
from bevel_lab.experiment.trial import Trial

FORMAT = 1

_NOT_REPEATED = (
    "seconds", "train_seconds", "bare_seconds", "inference", "peak_memory", "started", "commit", "versions", "label",
)  # fmt: skip
"""Fields that may differ between two runs of one trial on one machine."""


_COSTS = (
    "parameters", "activation_parameters", "seconds", "train_seconds", "samples", "peak_memory", "saved_bytes",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """One epoch.

    Attributes:
        train: training metrics, means over its batches.
        validation: validation metrics after it.
        seconds: wall time.
    """

    train: dict[str, float]
    validation: dict[str, float]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Site:
    """One activation call site of the trained model.

    Attributes:
        name: qualified module name.
        channels: parameters per coefficient (1 when shared).
        before, after: learnable parameters by name, one number per channel.
        x: sample points, the same for all curves (empty when the site was not sampled).
        curve_before, curve_after: value at ``x``, mean over channels.
        curve_low, curve_high: lowest and highest channel at ``x`` after training.
    """

    name: str
    channels: int
    before: dict[str, list[float]]
    after: dict[str, list[float]]
    x: list[float]
    curve_before: list[float]
    curve_after: list[float]
    curve_low: list[float]
    curve_high: list[float]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One test sample, the truth, and what the trained model makes of it; each is text, or an image.

    Attributes:
        title: which sample it is.
        given, truth, guess: text, or a PNG file as a ``data:image/png;base64,`` URI; ``given`` may be "".
    """

    title: str
    given: str
    truth: str
    guess: str


@dataclass(frozen=True, kw_only=True)
class Record:
    """The outcome of one trial.

    Attributes:
        trial: what was run.
        label: the activation's short spec as the user typed it, for display.
        formula: the activation's formula as plain text.
        citations: what to cite for it, one string a source.
        epochs: per-epoch metrics.
        test: test metrics, read once after the last epoch.
        metric: key of the headline metric in ``test``.
        share: whether that metric is a share of one, which a report writes as per cent.
        lower_is_better: whether lower values of it are better.
        log_scale: whether it is compared as its log10, such as a relative error.
        parameters, activation_parameters: counts of all trainable numbers and of the activations' own.
        sites: the activations before and after training.
        seconds: training wall time over all sessions of the trial, without data loading.
        train_seconds: the same without validation.
        data: what exactly the data set was: numbers of images, a digest of its content, a note; empty in older records.
        pictures: a few test samples as the model sees them; of seed 0 only, and only where the task draws any.
        samples: training samples seen, so that ``samples / train_seconds`` is the throughput.
        bare_seconds: seconds that a plain training loop took for a sample at the end of the trial, so that
            ``bare_seconds * samples / train_seconds`` is the share of its throughput; 0 where it was not timed.
        measures: shares by name that were measured beside ``test`` after the last epoch, where the trial asked for it.
        inference: by runtime (``eager``, ``onnxruntime``, and ``compile`` for a trial that compiles) the processor's
            seconds for one sample after training on one thread of a CPU; of seed 0, where the trial has measures.
        predictions: digest of the predicted classes of the test part, which lie in a side file; "" where none do.
        peak_memory: peak memory in bytes: growth of the process's peak resident set on the CPU, torch's peak
            allocation on a GPU.
        saved_bytes: bytes kept for backward in one training step of the first batch size.
        device, versions, commit, started: provenance (``versions`` by package; ISO time, UTC).
    """

    trial: Trial
    label: str
    formula: str
    citations: list[str]
    epochs: list[Epoch]
    test: dict[str, float]
    metric: str
    parameters: int
    activation_parameters: int
    sites: list[Site]
    seconds: float
    train_seconds: float
    samples: int
    peak_memory: int
    saved_bytes: int
    device: str
    versions: dict[str, str]
    commit: str
    started: str
    data: dict[str, int | str] = dataclasses.field(default_factory=dict)
    pictures: list[Picture] = dataclasses.field(default_factory=list)
    bare_seconds: float = 0.0
    share: bool = False
    lower_is_better: bool = False
    log_scale: bool = False
    measures: dict[str, float] = dataclasses.field(default_factory=dict)
    inference: dict[str, float] = dataclasses.field(default_factory=dict)
    predictions: str = ""

    def __str__(self) -> str:
        return f"{self.label}, seed {self.trial.seed}: {written(self.metric, self.test[self.metric])}"

    def to_json(self) -> str:
        """Return one line of strict JSON, in which a number that is not finite is null."""
        data = {"format": FORMAT, "id": self.trial.id} | dataclasses.asdict(self)
        return json.dumps(_finite(data), separators=(",", ":"), allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Record:
        """Read a line; raise ``ValueError`` if it is damaged, has another format, or its id does not match."""
        try:
            read = json.loads(line)
            if not isinstance(read, dict):
                raise ValueError(f"it is no JSON object but {read!r:.40}")
            data: dict[str, Any] = _nan(read) if "null" in line else read
            if data.pop("format", None) != FORMAT:
                raise ValueError(f"its format is not {FORMAT}; use the bevel that wrote it")
            claimed = data.pop("id")
            data["trial"] = Trial.from_dict(data["trial"])
            data["epochs"] = [Epoch(**e) for e in data["epochs"]]
            data["sites"] = [Site(**s) for s in data["sites"]]
            data["pictures"] = [Picture(**p) for p in data.get("pictures", [])]
            record = cls(**data)
        except (TypeError, KeyError, AttributeError) as error:
            raise ValueError(f"a field is missing, unknown or of the wrong type: {error}") from error
        if record.trial.id != claimed:
            raise ValueError(f"its id is {claimed} but its content hashes to {record.trial.id}")
        return record

    @property
    def diverged(self) -> bool:
        """Whether the run has no score, or a last training loss that is not finite. Its score counts all the same."""
        last = self.epochs[-1].train.values() if self.epochs else ()
        return not all(map(math.isfinite, (self.test[self.metric], *last)))

    def to_row(self) -> dict[str, Any]:
        """Return trial, metrics and cost as a flat mapping of names to numbers and text."""
        last = self.epochs[-1] if self.epochs else None
        return {
            "arm": self.label,
            **self.trial.to_dict(),
            "metric": self.metric,
            **{name: getattr(self, name) for name in ("share", "lower_is_better", "log_scale")},
            "score": self.test[self.metric],
            "diverged": self.diverged,
            **{f"test_{key}": value for key, value in self.test.items()},
            **self.measures,
            **{f"train_{key}": value for key, value in (last.train.items() if last else ())},
            **{f"validation_{key}": value for key, value in (last.validation.items() if last else ())},
            **{name: getattr(self, name) for name in _COSTS},
            "samples_per_second": self.samples / self.train_seconds if self.train_seconds > 0 else None,
            **{name: getattr(self, name) for name in ("device", "commit", "started")},
            "id": self.trial.id,
        }

    @property
    def result(self) -> dict[str, Any]:
        """The part that repeats to the last bit on one machine: everything but times, peak memory and provenance.

        Non-finite numbers are None, so that equal results of diverged trials compare equal.
        """
        data = dataclasses.asdict(self)
        for key in _NOT_REPEATED:
            del data[key]
        for epoch in data["epochs"]:
            del epoch["seconds"]
        plain: dict[str, Any] = _finite(data)
        return plain


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value


def _nan(value: Any) -> Any:
    """Undo :func:`_finite`. No field of a record is optional, so every null stands for a number that is not finite."""
    if isinstance(value, dict):
        return {k: _nan(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_nan(v) for v in value]
    return float("nan") if value is None else value
