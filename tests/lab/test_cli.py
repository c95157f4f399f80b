"""The command line: what it prints, and one line with exit code 2 for everything it cannot use."""

import dataclasses
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import bevel
from bevel_lab.cli import COMMANDS, _plot, _settings, compare, main, run
from bevel_lab.data.source import Source
from bevel_lab.execution.run import Request
from bevel_lab.experiment import folder, keys, settings
from bevel_lab.experiment.ledger import LEDGER, Ledger
from bevel_lab.experiment.trial import Trial
from bevel_lab.training.shape import bound

ROOT = Path(__file__).resolve().parents[2]
COMPARE = ["compare", "--activations", "relu,gelu"]


def _run(capsys: pytest.CaptureFixture[str], *argv: str) -> tuple[int, str, str]:
    code = main(argv)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["cmpare"], ["unknown command 'cmpare'", "did you mean 'compare'"]),
        (["xyzzy"], ["unknown command 'xyzzy'; known: bench,", "status. `bevel --help` lists them."]),
        (["list", "activation"], ["unknown registry 'activation'", "'activations'"]),
        (["list", "models", "more"], ["unexpected argument 'more'"]),
        (["show"], ["missing: SPEC", "--help"]),
        (["show", "rleu"], ["unknown activation 'rleu'", "'relu'"]),
        (["show", "sau:m=3"], ["'sau' takes no argument 'm'"]),
        (["show", "sau:n=-3"], ["finite and > 0", "-3"]),
        (["show", "sau:n"], ["key=value"]),
        (["show", "relu", "--pgn", "x"], ["unknown flag '--pgn'", "'--png'"]),
        (["show", "relu", "--png"], ["--png needs a value"]),
        (
            ["bench", "--only", "al"],
            ["--only must be one of speed, catalog,", "; got 'al'; `bevel bench --help` tells more."],
        ),
        (["completion", "fish"], ["shell must be one of bash, zsh; got 'fish'; `bevel completion --help` tells"]),
        (["inspect", "x.py:f", "--what", "relu"], ["--what needs --to,", "Add --to SPEC, or leave it out."]),
        (["inspect", "x.py:f", "--from-scratch"], ["--from-scratch needs --to, the activation to swap in; got none."]),
        (
            ["show", "relu", "--png", "/dev/null/x.png"],
            ["cannot write /dev/null/x.png", "choose another --png"],
        ),
        (["show", "gelu:approximate=foo"], ["'gelu:approximate=foo' cannot be made", "other arguments"]),
        (["show", "hardtanh:min_val=2,max_val=1"], ["cannot be made"]),
        (["show", "celu:alpha=0"], ["alpha cannot be 0"]),
        (["show", "softplus:beta=0"], ["not finite on [-2, 2]"]),
        (["show", "sau:n=1e-300"], ["must fit float32", "1e-300"]),
        (["show", "sau:alpha=1e39"], ["float32, which ends at 3.4e38; got 1e+39"]),
        (["show", "eis2:beta=0,gamma=0"], ["eis2:beta=0,gamma=0 is not finite everywhere on [-4, 4]"]),
        (["check", "celu:alpha=0"], ["alpha cannot be 0"]),
        (["check", "sau:n=1e300"], ["must fit float32"]),
        (["check", "gausian"], ["unknown activation or kernel 'gausian'; did you mean 'gaussian'?"]),
        (["compare", "--activations", "relu,hardtanh:min_val=2,max_val=1"], ["cannot be made"]),
        (["compare"], ["--activations SPEC"]),
        (["compare", "--activations"], ["--activations needs at least one value"]),
        (["compare", "--activations", "relu", "--epoch", "3"], ["unknown flag '--epoch'", "'--epochs'"]),
        (
            ["compare", "--activations", "relu", "--dataset", "folder:x", "--model", "unet_small"],
            [
                "'folder:x' is for classification, model 'unet_small' for segmentation; a folder for segmentation is "
                "written folder_masks:PATH."
            ],
        ),
        (
            ["compare", "--activations", "relu", "--dataset", "folder_masks:x", "--model", "ssd_small"],
            ["a folder for detection is written folder_coco:PATH or folder_voc:PATH."],
        ),
        ([*COMPARE, "--epochs", "many"], ["--epochs must be a whole number; got 'many'"]),
        ([*COMPARE, "--epochs", "1.5"], ["--epochs must be a whole number"]),
        ([*COMPARE, "--epochs", "0"], ["epochs must be a whole number at least 1; got 0"]),
        ([*COMPARE, "--lr", "fast"], ["--lr must be a number; got 'fast'"]),
        ([*COMPARE, "--lr", "nan"], ["lr must be a finite number above 0"]),
        ([*COMPARE, "--seeds", "0"], ["seeds must be a whole number, at least 1"]),
        ([*COMPARE, "--workers", "0"], ["workers must be a whole number, at least 1"]),
        ([*COMPARE, "--model", "resnet"], ["unknown model 'resnet'", "did you mean 'resnet8'"]),
        ([*COMPARE, "--dataset", "minst"], ["unknown data set 'minst'", "'mnist'"]),
        ([*COMPARE, "--reference", "reul"], ["unknown activation 'reul'", "'relu'"]),
        ([*COMPARE, "--device", "gpu"], ["device must be 'cpu', 'cuda'"]),
        ([*COMPARE, "--dataset", "mnist", "--data-root", "none"], ["no folder none/MNIST/raw", "--download"]),
        (["compare", "--activations", "gelu,gelu:approximate=none"], ["are the same activation"]),
        (["compare", "--activations", "prelu:num_parameters=3"], ["cannot serve a site of 16 channels"]),
        (["compare", "x.toml"], ["unexpected argument 'x.toml'", "`bevel run FILE.toml` takes a file."]),
        (["compare", "relu", "gelu"], ["unexpected argument 'relu'; it takes flags only"]),
        (["run", "--activations", "relu"], ["missing: FILE.toml", "`bevel compare` takes flags only."]),
        (["run", "x.toml", "y.toml"], ["unexpected argument 'y.toml'; it takes one file"]),
        (["run", "nothere.toml"], ["there is no file nothere.toml"]),
        ([*COMPARE, "--out", "/dev/null/x"], ["cannot write to /dev/null/x", "another --out"]),
        ([*COMPARE, "--warmup", "2"], ["warmup must be a fraction from 0 to 1; got 2.0."]),
        (
            [*COMPARE, "--train-limit", "1"],
            ["train_limit must be a whole number that is 0 (all) or at least 2; got 1."],
        ),
        ([*COMPARE, "--task", "foo"], ["unknown task 'foo'; known: classification, detection"]),
        (["show", "relu", "--png", "plot.xyz"], ["--png must name a file that ends in .png; got 'plot.xyz'."]),
        (["report", "runs", "--pair", "a", "b"], ["--pair is answered on a page; name it with --page MD"]),
        (["report", "net.py"], ["net.py is no file of records; give a folder that was --out of bevel, or a file"]),
        (["bench", "--rows", "net.py"], ["net.py must have at least one row under the columns section, case"]),
        (["report", "half"], ["experiment.json cannot be read (its format is not 2; use the bevel that wrote it)"]),
        (["report", "number"], ["experiment.json cannot be read (it is no JSON object but 3.5); move it away"]),
        (["report"], ["missing: DIR"]),
        (["report", "none"], ["none holds no experiment"]),
    ],
)
def test_wrong_input_is_one_line_and_exit_code_2(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    argv: list[str],
    words: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "net.py").write_text("import torch\n")
    for name, text in (("half", "{}"), ("number", "3.5")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "experiment.json").write_text(text)
    code, _, err = _run(capsys, *argv)
    assert code == 2
    assert err.startswith("bevel: ")
    assert err.count("\n") == 1
    for part in words:
        assert part in err


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("activations = relu", "is not TOML"),
        ("activatons = ['relu']", "unknown key 'activatons'; did you mean 'activations'"),
        ("activations = 'relu'", "activations must be a list of texts; got 'relu'"),
        ("activations = [1]", "activations must be a list of texts"),
        ("seeds = '3'", "seeds must be a whole number; got '3'"),
        ("seeds = true", "seeds must be a whole number; got True"),
        ("out = 3", "out must be text; got 3"),
        ("activations = ['relu']\nepochs = '3'", "epochs must be a whole number at least 1; got '3'"),
        ("activations = ['relu']\nmodel = 3", "model must be text; got 3"),
        (
            "activations = ['relu']\ntask = 'segmentation'\ndataset = 'folder:x'",
            "or leave the task out; a folder for segmentation is written folder_masks:PATH.",
        ),
        ("seed = 3", "unknown key 'seed'; did you mean 'seeds'"),
    ],
)
def test_a_wrong_file_is_one_line_too(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, text: str, words: str
) -> None:
    path = tmp_path / "experiment.toml"
    path.write_text(text)
    code, _, err = _run(capsys, "run", str(path))
    assert (code, err.count("\n")) == (2, 1)
    assert words in err


def test_flags_win_over_the_file_and_the_file_over_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "experiment.toml"
    path.write_text("activations = ['relu', 'gelu']\nepochs = 5\nlr = 1\naugment = false\nout = 'here'\n")
    flags = _settings.given(run.parser().read([str(path), "--epochs", "7", "--augment"]))
    assert flags == {"epochs": 7, "augment": True}
    request = Request.of(path, flags)
    assert [one.label for one in request.experiment.arms] == ["relu", "gelu"]
    assert {key: request.experiment.recipe[key] for key in ("epochs", "lr", "augment", "batch_size")} == {
        "epochs": 7, "lr": 1.0, "augment": True, "batch_size": 32,
    }  # fmt: skip
    assert (request.experiment.seeds, request.experiment.reference, request.folder) == (10, "relu", Path("here"))
    assert request.source == Source()


def test_every_setting_of_a_trial_is_a_flag() -> None:
    set_by_the_lab = {"activation", "seed", "task", "tuning", "processes"}
    fields = {f.name for f in dataclasses.fields(Trial)} - set_by_the_lab
    assert set(keys.RECIPE_KEYS) == fields
    assert all(f.metadata["words"] for f in dataclasses.fields(Trial) if f.name in fields)
    text = compare.parser().format_help()
    for name in [*fields, *keys.DEFAULTS.keys() - {"tune"}]:
        assert "--" + name.replace("_", "-") in text


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["relu,gelu"], ["relu", "gelu"]),
        (["relu", "gelu,sau"], ["relu", "gelu", "sau"]),
        (["sau:n=5,alpha=0.2,relu"], ["sau:n=5,alpha=0.2", "relu"]),
        (["mollified:f=frelu(1,0.1),n=2,swish:beta=2"], ["mollified:f=frelu(1,0.1),n=2", "swish:beta=2"]),
        (["relu,", " gelu"], ["relu", "gelu"]),
    ],
)
def test_specs_are_told_apart_at_commas(texts: list[str], found: list[str]) -> None:
    assert settings.split_arms(texts) == found


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_examples(capsys: pytest.CaptureFixture[str], command: str) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert f"bevel {command} " in out.partition("examples:")[2]
    for path in re.findall(r"(?:experiments|evidence)/\S+", out):
        assert list(ROOT.glob(path)), path


@pytest.mark.process
def test_the_first_help_lists_the_commands_without_loading_torch() -> None:
    code = "import sys; from bevel_lab.cli import main; main([]); print({'torch', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("set()\n")
    assert all(f"  {name} " in done.stdout for name in COMMANDS)


@pytest.mark.process
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_disk_is_one_line_with_a_remedy(unbuffered: str) -> None:
    """With a buffer, too, of which something is left when writing fails."""
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "bevel_lab", "list", "kernels"]
        done = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (2, "bevel: No space left on device; make room and start again.\n")


def test_list_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = _run(capsys, "list")
    assert code == 0
    names = {line.split()[0] for line in out.splitlines() if line.startswith("  ")}
    lines = {line.split()[0]: line for line in out.splitlines() if line}
    for name, task in (("folder_clips:PATH", "video"), ("unet", "segmentation"), ("lenet", "classification")):
        assert lines[name].split()[1] == task
    assert "Boxes around objects, and their classes; measured by map_50" in lines["detection"]
    assert names >= {*bevel.ACTIVATIONS, *bevel.KERNELS, "digits", "mnist", "fashion_mnist", "cnn", "resnet20"}
    assert _run(capsys, "list", "kernels")[1].splitlines()[0] == "kernels"


def test_show_tells_bound_slope_and_draws(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    png = tmp_path / "sau.png"
    code, out, _ = _run(capsys, "show", "sau:n=5", "--png", str(png))
    assert code == 0
    assert out.startswith("sau:n=5 is sau with arguments of its own; sau: Leaky ReLU")  # the line says n = 20000
    assert "at most 0.07979 from its kinked function (proven; 0.07979 measured)" in out
    assert "0.15 far left, 1 far right" in out
    assert "arXiv:2109.13210" in out
    assert "  -0.4500  -0.3000  -0.1500   0.0798   1.0000   2.0000   3.0000" in out
    assert png.read_bytes().startswith(b"\x89PNG")
    assert len(out.splitlines()) < 40


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("frelu", "0: it is a kinked function itself"),
        ("gelu", "none is known"),
        ("smelu:beta=2", "at most 0.5 "),
        ("sau:n=5,form=centred", "at most 0.03857 from its kinked function (proven; 0.03809 measured)"),
        ("mollified:f=relu6,kernel=box,n=2", "at most 0.25 from its kinked function (proven; 0.125 measured)"),
    ],
)
def test_the_bound_in_words(spec: str, words: str) -> None:
    assert words in bound(bevel.create(spec))


def test_check_runs_the_laws(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    code, out, _ = _run(capsys, "check", "sau:n=5")
    assert code == 0
    assert "gradcheck" in out
    assert "laws hold." in out
    assert "  n/a    monotone where f is: " in out
    assert "unit mass" in _run(capsys, "check", "box")[1]

    def broken(module: object) -> list[str]:
        raise AssertionError("law broken: unit mass:\n error 1")

    monkeypatch.setattr("bevel.testing.check_activation", broken)
    assert _run(capsys, "check", "relu")[:2] == (1, "relu: law broken: unit mass: error 1\n")


def test_the_plot_draws_the_curve() -> None:
    x = [i / 100 for i in range(101)]
    lines = _plot.plot(x, x, "line", width=5, height=5)
    assert (lines[0], lines[-1]) == ("  line", "  0   1")
    assert [line[:2] for line in lines[1:-1]] == ["1 ", "  ", "  ", "  ", "0 "]
    bits = {(0, 0): 1, (0, 1): 2, (0, 2): 4, (0, 3): 64, (1, 0): 8, (1, 1): 16, (1, 2): 32, (1, 3): 128}
    dots = [
        (2 * column + dx, 4 * row + dy)
        for row, line in enumerate(lines[1:-1])
        for column, cell in enumerate(line[2:])
        for (dx, dy), bit in bits.items()
        if (ord(cell) - 0x2800) & bit
    ]
    assert {x for x, _ in dots} == set(range(10))
    assert all(abs((19 - y) - 19 / 9 * x) < 2.7 for x, y in dots), "within a step of the diagonal"
    assert {(0, 19), (9, 0)} <= set(dots)
    far = _plot.plot(x, [1e38] * 101, "", width=4, height=3)
    assert far[1].startswith("1.5e+38 ")
    small = _plot.plot(x, [1e-12 * v for v in x], "line", width=5, height=5)
    assert [line.split(" ")[-1] for line in small[1:-1]] == [line.split(" ")[-1] for line in lines[1:-1]]
    flat = _plot.plot(x, [2.0] * 101, "", width=4, height=3)
    assert flat[1].startswith("3 ")
    assert flat[3].startswith("1 ")


def test_report_works_on_what_is_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from small_trials import RECIPE

    from bevel_lab.experiment.experiment import Experiment
    from bevel_lab.training.run import run_trial

    found = Experiment.resolve(["gelu"], "relu", 3, RECIPE | {"epochs": 1})
    with Ledger(tmp_path) as book:
        folder.merge(tmp_path, found)
        for trial, label in found.trials()[:4]:
            book.append(run_trial(trial, label=label))
    ledger = tmp_path / LEDGER
    ledger.write_bytes(ledger.read_bytes() + b'{"torn')
    code, out, err = _run(capsys, "report", str(tmp_path), "--title", "Two <seeds>")
    assert code == 0
    assert "2 of 6 trials have no result yet" in err
    assert "unfinished" in err
    assert out.endswith(f"report: {tmp_path / 'report.html'}\n")
    assert "gelu" in out
    page = (tmp_path / "report.html").read_text()
    assert "Two &lt;seeds&gt;" in page
    assert {"table.md", "table.tex", "results.csv"} <= {p.name for p in tmp_path.iterdir()}
