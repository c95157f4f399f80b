"""Invalid samples: the first is an error; with --skip-invalid all are skipped, counted, listed, and reported once."""

from pathlib import Path

import pytest
from small_trials import trial

from bevel_lab.cli import main
from bevel_lab.data.facts import NAMED
from bevel_lab.data.invalid import SKIPPED_FILE, InvalidSamples, SkippedSamples, pass_on_data_notes
from bevel_lab.data.source import Source
from bevel_lab.errors import LabError
from bevel_lab.execution.run import Request
from bevel_lab.experiment.ledger import LEDGER, parse
from bevel_lab.training.run import run_trial

BAD = 7


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    for part in ("train", "valid", "test"):
        lines = [f"{part} {a} {b}" for a in ("red", "green", "blue") for b in ("house", "tree", "car", "road")] * 2
        for language in ("en", "de"):
            empty = [""] * BAD if (part, language) == ("train", "de") else [f"{part} one"] * BAD
            (tmp_path / f"{part}.{language}").write_text("\n".join(empty + lines) + "\n")
    return tmp_path


@pytest.mark.process
@pytest.mark.filterwarnings("default::bevel_lab.data.invalid.SkippedSamples")
def test_the_command_line_lists_all_that_is_skipped_and_says_so_once(
    corpus: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = corpus / "out"
    command = ["compare", "--activations", "relu", "gelu", "--dataset", f"folder_text:{corpus}:en-de"]
    command += ["--model", "transformer_tiny_prenorm", "--epochs", "1", "--seeds", "1", "--workers", "2"]
    assert main([*command, "--out", str(out)]) == 2
    words = capfd.readouterr().err
    assert f"{corpus}/train.de, line 1 is empty; delete it in both files, or skip it with --skip-invalid." in words
    assert not out.exists()

    assert main([*command, "--out", str(out), "--skip-invalid"]) == 0
    notes = [line for line in capfd.readouterr().err.splitlines() if "skipped as invalid" in line]
    first = "; ".join(f"train.de, line {k + 1} is empty" for k in range(NAMED))
    assert notes == [f"note: skipped as invalid, {BAD}: {first}; and 2 more; {out / SKIPPED_FILE} lists them."]
    assert (out / SKIPPED_FILE).read_text() == "".join(f"train.de, line {k + 1} is empty\n" for k in range(BAD))
    records, _ = parse(out / LEDGER)
    assert {str(record.data["skipped"]) for record in records.values()} == {f"{BAD}: {first}; and 2 more"}
    assert {record.data["train"] for record in records.values()} == {24}


def test_a_bad_sample_is_an_error_or_a_sentence_that_is_the_same_on_every_machine(tmp_path: Path) -> None:
    with pytest.raises(LabError, match=r"x is torn; mend it, or skip it with --skip-invalid\."):
        InvalidSamples(False, tmp_path).add("x is torn", "mend it")
    invalid = InvalidSamples(True, tmp_path)
    assert invalid.finish() == ()
    invalid.add(f"{tmp_path}/a/b is torn", "mend it")
    with pytest.warns(SkippedSamples, match="skipped as invalid, 1: a/b is torn"):
        assert invalid.finish() == ("a/b is torn",)


def test_other_warnings_pass_a_command_line_unchanged(recwarn: pytest.WarningsRecorder) -> None:
    import warnings

    with pass_on_data_notes(print):
        warnings.warn("something else", RuntimeWarning, stacklevel=1)
    assert [str(one.message) for one in recwarn] == ["something else"]
    assert run_trial(trial(epochs=1), source=Source(skip_invalid=True)).data.get("skipped") is None


def test_the_old_name_of_the_option_is_read_in_files_and_a_flag_points_at_the_new_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "old.toml"
    file.write_text('activations = ["relu"]\nskip_bad = true\n')
    assert Request.of(file, {}).source == Source(skip_invalid=True)
    assert main(["compare", "--activations", "relu", "--skip-bad"]) == 2
    said = capsys.readouterr().err
    assert "did you mean '--skip-invalid'" in said
    assert said.count("\n") == 1
