"""The ledger survives what can happen to a file, and says so; a folder keeps to one experiment."""

import dataclasses
import json
import multiprocessing
import os
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest
from small_trials import RECIPE, full_disk, trial

from bevel.errors import InvalidValue, UnknownName
from bevel_lab.cli import run
from bevel_lab.errors import LabError
from bevel_lab.experiment import folder, ledger, protocols, settings
from bevel_lab.experiment.experiment import Experiment
from bevel_lab.experiment.ledger import LEDGER, TORN, Ledger
from bevel_lab.experiment.record import Record
from bevel_lab.training.run import run_trial


@pytest.fixture(scope="module")
def three() -> list[Record]:
    return [run_trial(trial(epochs=1, seed=seed)) for seed in range(3)]


def _filled(folder: Path, records: list[Record]) -> Path:
    with Ledger(folder) as book:
        for record in records:
            book.append(record)
    return folder / LEDGER


def test_what_is_appended_is_there_when_opened_again(tmp_path: Path, three: list[Record]) -> None:
    path = _filled(tmp_path / "deep" / "er", three)
    assert path.read_bytes().count(b"\n") == 3
    with Ledger(path.parent) as book:
        assert list(book.records.values()) == three
        assert book.repaired == ""


def test_an_append_is_on_the_disk_whole_before_it_returns(
    tmp_path: Path, three: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a process has written survives its end, and what it has flushed survives the machine's."""
    flushed: list[bytes] = []
    with Ledger(tmp_path) as book:
        monkeypatch.setattr(os, "fsync", lambda _: flushed.append((tmp_path / LEDGER).read_bytes()))
        for count, record in enumerate(three[:2], start=1):
            book.append(record)
            assert len(flushed) == count, "one flush a record"
            assert flushed[-1].splitlines()[-1].decode() == record.to_json().strip()
            assert flushed[-1].endswith(b"\n")


def test_a_torn_last_line_is_set_aside_wherever_it_was_torn(tmp_path: Path, three: list[Record]) -> None:
    whole = _filled(tmp_path, three).read_bytes()
    end = whole.rindex(b"\n", 0, -1) + 1
    for cut in (end + 1, end + 2, (end + len(whole)) // 2, len(whole) - 2, len(whole) - 1):
        (tmp_path / LEDGER).write_bytes(whole[:cut])
        (tmp_path / TORN).unlink(missing_ok=True)
        with Ledger(tmp_path) as book:
            assert "unfinished line" in book.repaired
            assert list(book.records.values()) == three[:2]
            book.append(three[2])
        assert (tmp_path / LEDGER).read_bytes() == whole
        assert (tmp_path / TORN).read_bytes() == whole[end:cut] + b"\n"
        with Ledger(tmp_path) as book:
            assert book.repaired == ""
            assert list(book.records.values()) == three


def test_reading_does_not_repair(tmp_path: Path, three: list[Record]) -> None:
    path = _filled(tmp_path, three)
    path.write_bytes(path.read_bytes()[:-7])
    torn = path.read_bytes()
    records, rest = ledger.parse(path)
    assert len(records) == 2
    assert rest
    assert path.read_bytes() == torn


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda line: line[: len(line) // 2], "line 2, is damaged"),
        (lambda line: b"", "line 2, is damaged"),
        (lambda line: b"\xff" + line, "line 2, is damaged"),
        (lambda line: line.replace(b'"seed":1', b'"seed":8'), "line 2, is damaged (its id is"),
        (lambda line: line.replace(b'"format":1', b'"format":99'), "line 2, is damaged (its format is not 1"),
        (lambda line: line.replace(b'"metric"', b'"metrix"'), "line 2, is damaged (a field is missing"),
    ],
)  # fmt: skip
def test_a_damaged_line_is_named_and_nothing_is_written(
    tmp_path: Path, three: list[Record], damage: object, words: str
) -> None:
    path = _filled(tmp_path, three)
    lines = path.read_bytes().split(b"\n")
    lines[1] = damage(lines[1])  # type: ignore[operator]
    path.write_bytes(b"\n".join(lines))
    before = path.read_bytes()
    for _ in range(2):  # the lock is given back after a failure
        with pytest.raises(LabError) as caught:
            Ledger(tmp_path)
        assert words in str(caught.value)
        assert str(path) in str(caught.value)
    assert path.read_bytes() == before


def test_a_trial_is_recorded_once(tmp_path: Path, three: list[Record]) -> None:
    path = _filled(tmp_path, three[:2])
    with Ledger(tmp_path) as book, pytest.raises(LabError, match="recorded once"):
        book.append(three[0])
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(LabError, match=r"line 3, repeats line 1's trial"):
        Ledger(tmp_path)


def test_a_disk_that_takes_nothing_is_named(tmp_path: Path, three: list[Record]) -> None:
    path = _filled(tmp_path, three[:2])
    whole = path.read_bytes()
    with Ledger(tmp_path) as book:
        with full_disk(len(whole)), pytest.raises(LabError) as caught:
            book.append(three[2])
        assert str(caught.value).startswith(f"could not write all of {path} (File too large); make room on the disk")
        assert path.read_bytes() == whole
        book.append(three[2])
    assert list(ledger.parse(path)[0].values()) == three


def _hold(folder: Path, ready: object, release: object) -> None:
    with Ledger(folder):
        ready.set()  # type: ignore[attr-defined]
        release.wait()  # type: ignore[attr-defined]


@pytest.mark.process
def test_a_second_writer_is_refused_and_a_dead_ones_lock_is_free(tmp_path: Path) -> None:
    with Ledger(tmp_path), pytest.raises(LabError, match=rf"process {os.getpid()}\) is writing to .*another --out"):
        Ledger(tmp_path)
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, ready, release))
    process.start()
    assert ready.wait(60)
    with pytest.raises(LabError, match=f"process {process.pid}"):
        Ledger(tmp_path)
    process.kill()
    process.join()
    with Ledger(tmp_path) as book:
        assert not book.records


def test_a_folder_that_cannot_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LabError, match=r"cannot write to .*file.*choose another --out"):
        Ledger(tmp_path / "file" / "sub")


# ----------------------------------------------------------------------------------------------------- experiments


def _experiment(activations: list[str], seeds: int = 2, reference: str = "relu", **recipe: object) -> Experiment:
    return Experiment.resolve(activations, reference, seeds, RECIPE | recipe)


def test_trials_go_seed_by_seed_with_the_reference_first() -> None:
    found = _experiment(["gelu", "sau:n=5", "relu"]).trials()
    assert [(t.seed, label) for t, label in found] == [
        (0, "relu"), (0, "gelu"), (0, "sau:n=5"), (1, "relu"), (1, "gelu"), (1, "sau:n=5"),
    ]  # fmt: skip
    assert {t.task for t, _ in found} == {"classification"}
    assert len({t.id for t, _ in found}) == 6


def test_the_reference_is_added_and_recognised_by_what_it_is() -> None:
    assert [a.label for a in _experiment(["gelu"]).arms] == ["relu", "gelu"]
    same = _experiment(["leaky_relu", "gelu"], reference="leaky_relu:negative_slope=0.01")
    assert [a.label for a in same.arms] == ["leaky_relu", "gelu"]
    assert same.reference == "leaky_relu"


def test_an_arm_has_fields_of_its_own() -> None:
    found = _experiment(["frelu", "frelu@alternate=epoch,lr=0.5,augment=false"], seeds=1)
    plain, own = (trial for trial, label in found.trials() if label != "relu")
    assert (plain.alternate, plain.lr, plain.augment) == ("", 0.05, True)
    assert (own.alternate, own.lr, own.augment) == ("epoch", 0.5, False)
    assert own.activation == plain.activation


@pytest.mark.parametrize(
    ("arm", "words"),
    [
        ("frelu@", "after @ come fields of the recipe, such as frelu@alternate=epoch; got 'frelu@'."),
        ("frelu@alternate", "'alternate' is not of the form field=value"),
        ("frelu@alternat=epoch", "unknown field 'alternat'; did you mean 'alternate'"),
        ("frelu@seed=1", "unknown field 'seed'"),
        ("frelu@epochs=1.5", "epochs must be a whole number at least 1; got '1.5'"),
        ("frelu@augment=1", "augment must be true or false; got '1'"),
        ("frelu@alternate=batch", "such as 'epoch:2:1'; got 'batch'"),
    ],
)
def test_a_wrong_arm_is_explained(arm: str, words: str) -> None:
    with pytest.raises((InvalidValue, UnknownName), match=re.escape(words)):
        _experiment([arm])


def test_several_models_and_data_sets_make_cells(tmp_path: Path) -> None:
    found = _experiment(["gelu"], 2, model=["mlp", "cnn"])
    assert found.cells == (("digits", "mlp"), ("digits", "cnn"))
    assert [(t.seed, t.model, label) for t, label in found.trials()[:5]] == [
        (0, "mlp", "relu"), (0, "mlp", "gelu"), (0, "cnn", "relu"), (0, "cnn", "gelu"), (1, "mlp", "relu"),
    ]  # fmt: skip
    assert folder.merge(tmp_path, found) == found
    grown = folder.merge(tmp_path, _experiment(["gelu"], 1, model="lenet"))
    assert [model for _, model in grown.cells] == ["mlp", "cnn", "lenet"]
    with pytest.raises(InvalidValue, match="model must be text; got 3"):
        _experiment(["gelu"], model=3)


def test_one_activation_under_two_names_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"'gelu' and 'gelu:approximate=none' are the same activation"):
        _experiment(["gelu", "gelu:approximate=none"])


@pytest.mark.parametrize(
    ("arms", "recipe"),
    [
        (["prelu", "prelu@lr=0.05"], {"lr": 0.05}),
        (["prelu", "prelu@lr=1"], {"lr": 1}),
        (["frelu@alternate=epoch", "frelu"], {"alternate": "epoch"}),
        (["prelu", "prelu@batch_size=32"], {}),  # the default
        (["prelu@lr=0.2,momentum=0.9", "prelu@lr=0.2"], {}),
    ],
)
def test_two_arms_that_are_one_trial_under_the_recipe_are_refused(arms: list[str], recipe: dict[str, Any]) -> None:
    with pytest.raises(InvalidValue, match=rf"'{arms[0]}' and '{arms[1]}' are the same activation with one recipe"):
        Experiment.resolve(arms, "relu", 1, recipe)
    other = {"lr": 0.3, "alternate": "step", "batch_size": 8, "momentum": 0.5}
    found = Experiment.resolve(arms, "relu", 1, other)
    assert len({t.id for t, _ in found.trials()}) == 3


def test_a_reference_that_is_an_arm_under_the_recipe_is_that_arm(tmp_path: Path) -> None:
    found = Experiment.resolve(["gelu", "prelu@lr=0.05"], "prelu", 1, {"lr": 0.05})
    assert [one.label for one in found.arms] == ["gelu", "prelu@lr=0.05"]
    assert found.reference == "prelu@lr=0.05"
    folder.merge(tmp_path, found)
    again = Experiment.resolve(["prelu", "gelu@lr=0.05"], "prelu", 1, {"lr": 0.05})
    assert folder.merge(tmp_path, again) == found, "nothing is new"
    assert {label for _, label in again.subset(found).trials()} == {"gelu", "prelu@lr=0.05"}
    with pytest.raises(LabError, match=r"reference is 'prelu:\S+' there and 'prelu:\S+@lr=0.1' here"):
        folder.merge(tmp_path, Experiment.resolve(["gelu"], "prelu@lr=0.1", 1, {"lr": 0.05}))


def test_a_folder_grows_by_arms_and_seeds_and_keeps_its_recipe(tmp_path: Path) -> None:
    first = _experiment(["gelu"], 2)
    assert folder.merge(tmp_path, first) == first == folder.read(tmp_path)
    grown = folder.merge(tmp_path, _experiment(["prelu", "gelu:approximate=none"], 3))
    assert [a.label for a in grown.arms] == ["relu", "gelu", "prelu"]
    assert grown.seeds == 3
    assert folder.merge(tmp_path, _experiment(["gelu"], 1)) == grown == folder.read(tmp_path)
    part = _experiment(["gelu:approximate=none"], 1).subset(grown)
    assert [(t.seed, label) for t, label in part.trials()] == [(0, "relu"), (0, "gelu")]
    with pytest.raises(LabError, match=r"another experiment \(epochs is 3 there and 4 here; lr is 0.05 there"):
        folder.merge(tmp_path, _experiment(["gelu"], epochs=4, lr=0.1))
    with pytest.raises(LabError, match="reference is 'relu' there"):
        folder.merge(tmp_path, _experiment(["gelu"], reference="gelu"))
    with pytest.raises(LabError, match="device is 'cpu' there and 'cuda' here"):
        folder.merge(tmp_path, dataclasses.replace(first, device="cuda"))


def test_an_experiment_from_before_a_field_was_added_is_read(tmp_path: Path) -> None:
    found = _experiment(["gelu"])
    folder.merge(tmp_path, found)
    data = json.loads((tmp_path / folder.FILE).read_text())
    del data["recipe"]["weights"]
    (tmp_path / folder.FILE).write_text(json.dumps(data))
    assert folder.read(tmp_path) == found


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 2, "arms": []}', "no json"])
def test_an_unreadable_experiment_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / folder.FILE).write_text(text)
    with pytest.raises(LabError, match=r"experiment\.json cannot be read .*move it away"):
        folder.read(tmp_path)


@pytest.mark.parametrize(
    "found",
    [
        _experiment(["mollified:f=leaky_relu(0.1),kernel=box,n=2", "sau:n=5,alpha=0.2"], augment=False, lr=0.25),
        _experiment(["frelu@alternate=epoch,lr=0.5", "frelu"], model=["mlp", "cnn"], alternate="step:2:1"),
        Experiment.resolve(["gelu"], "relu", 2, protocols.protocol("fair").recipe,
                           tuning=protocols.protocol("fair").tune),
    ],
)  # fmt: skip
def test_settings_that_amount_to_an_experiment_make_it_again(tmp_path: Path, found: Experiment) -> None:
    text = settings.to_toml(settings.amounting_to(found))
    path = tmp_path / "asked.toml"
    path.write_text(text)
    again = settings.resolve(settings.read(path))
    assert again == found
    folder.keep_request(tmp_path, text)
    folder.keep_request(tmp_path, text)
    folder.keep_request(tmp_path, text + "seeds = 3\n")
    assert [one.name for one in folder.requests(tmp_path)] == ["experiment.toml", "experiment-2.toml"]
    words = [shlex.split(line) for line in folder.command(tmp_path).splitlines()]
    assert words[0] == ["bevel", "run", str(tmp_path / "experiment.toml"), "--out", str(tmp_path)]
    assert settings.resolve(settings.read(run.parser().read(words[0][2:]).file)) == again
    assert json.loads(json.dumps(found.recipe)) == found.recipe
    folder.merge(tmp_path, found)
    assert folder.read(tmp_path) == found


@pytest.mark.parametrize("text", ['a "b" \\ c', "tab\t, newline\n, nul\0, del\x7f, \x9f, ü, 😀"])
def test_any_text_survives_toml(text: str) -> None:
    table = {"title": text, "seeds": 3, "lr": 1e-05, "augment": False, "activations": [text, "relu"],
             "tune": {"trials": 2, "space": {"lr": {"low": 1e-7, "high": 1.0, "log": True}}}}  # fmt: skip
    assert tomllib.loads(settings.to_toml(table)) == table


def test_names_of_before_are_read_and_make_the_same_ids(tmp_path: Path, three: list[Record]) -> None:
    path = tmp_path / "old.toml"
    path.write_text('activations = ["relu", "gelu@optimiser=adamw"]\noptimiser = "adam"\nskip_bad = true\n')
    asked = settings.read(path)
    assert (asked["optimizer"], asked["skip_invalid"]) == ("adam", True)
    found = settings.resolve(asked)
    assert [trial.optimizer for trial, _ in found.base_trials()] == ["adam", "adamw"]
    folder.merge(tmp_path, found)
    stored = (tmp_path / folder.FILE).read_text()
    stored = stored.replace('"optimizer"', '"optimiser"').replace("{", '{"protocol": "quick",', 1)
    (tmp_path / folder.FILE).write_text(stored)
    assert folder.read(tmp_path) == found
    one = trial(optimizer="adam")
    assert one.id == "ace09e9ef64fed02", "a hash of the old name"
    record = dataclasses.replace(three[0], trial=one)
    assert Record.from_json(record.to_json().replace('"optimizer"', '"optimiser"')) == record
