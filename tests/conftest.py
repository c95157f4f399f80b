"""Options of the whole suite, and the order of its files: those that take longest first."""

import gc
import importlib.util
import json
import os
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
DURATIONS = HERE / "durations.json"
SLOW = ["accelerate", "av", "jinja2", "lightning", "matplotlib", "onnx", "onnxruntime", "pycocotools", "ray"]
SLOW += ["scipy.stats", "sklearn", "sphinx", "tensorboard", "timm", "tokenizers", "torch._dynamo", "torch._inductor"]
SLOW += ["sacrebleu", "torchao", "torchmetrics", "torchvision", "transformers"]
MARKERS = ("process", "compile", "native", "triton", "network", "slow")
_started: list[Any] = []
_taken: Counter[str] = Counter()
_slow: dict[str, str] = {}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where tests/triton runs: cpu (Triton's interpreter) or cuda")
    parser.addoption("--thorough", action="store_true", help="every table to its end, 30 kills: half an hour more")
    parser.addoption("--moments", type=int, help="seed of the moments at which processes are killed; default: drawn")
    parser.addoption("--write-durations", action="store_true", help=f"write {DURATIONS.name} from this whole run")


def pytest_configure(config: pytest.Config) -> None:
    """A variable says, when Triton is imported, whether its library is interpreted; torch.compile may import it."""
    if config.getoption("--device") == "cpu" and importlib.util.find_spec("triton") is not None:
        os.environ["TRITON_INTERPRET"] = "1"
        importlib.import_module("triton.language")
        del os.environ["TRITON_INTERPRET"]
    if importlib.util.find_spec("hypothesis") is not None:
        hypothesis = importlib.import_module("hypothesis")
        slow = [hypothesis.HealthCheck.too_slow]  # a busy machine is no fault: nothing is timed
        hypothesis.settings.register_profile("bevel", deadline=None, suppress_health_check=slow)
        hypothesis.settings.load_profile("bevel")
    if config.option.moments is None:  # here, so that xdist hands its workers the same
        config.option.moments = random.randrange(10_000)


class _Popen(subprocess.Popen):  # type: ignore[type-arg]
    """Notes which programs a test starts."""

    def __init__(self, args: Any, *rest: Any, **options: Any) -> None:
        _started.append(args)
        super().__init__(args, *rest, **options)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Fail a test that starts a Python of its own, which takes seconds, and that ``make test-fast`` would run."""
    _started.clear()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess, "Popen", _Popen)
        yield
    own = any(not isinstance(args, str) and os.fspath(next(iter(args))) == sys.executable for args in _started)
    if own and not any(item.get_closest_marker(name) for name in MARKERS):
        pytest.fail("it starts Python: mark it with pytest.mark.process", pytrace=False)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, Any, Any]:
    """Note which file brings a slow package into the process that collects it."""
    before = {name for name in SLOW if name in sys.modules}
    report = yield
    for name in SLOW:
        if name in sys.modules and name not in before:
            _slow[name] = collector.nodeid
    return report


@pytest.fixture
def slow_at_collection() -> dict[str, str]:
    """Slow packages that collecting this run's files brought in, and the file that did."""
    return _slow


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first, so that no worker begins one when the others are done; tests of a file share its fixtures."""
    taken: dict[str, float] = json.loads(DURATIONS.read_text())
    items.sort(key=lambda item: -taken.get(item.path.relative_to(HERE).as_posix(), 0.0))


def pytest_collection_finish() -> None:
    """Thousands of tests and the libraries stay to the end: they need not be walked for garbage again and again.

    Thresholds stay: with (50,000, 20, 100) tests of surgery take a tenth less time, but a worker grew to 10 GB.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """The same for what a file's tests leave: it halves the time of full collections, a twentieth of the whole."""
    if nextitem is None or nextitem.path != item.path:
        gc.collect()
        gc.freeze()


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _taken[report.nodeid.partition("::")[0].removeprefix("tests/")] += report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    gc.unfreeze()  # else Triton's library warns of leaks at the end
    if session.config.getoption("--write-durations") and "PYTEST_XDIST_WORKER" not in os.environ:
        found = {file: round(seconds, 1) for file, seconds in _taken.most_common() if seconds >= 1}
        DURATIONS.write_text(json.dumps(found, indent=0) + "\n")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> Generator[None]:
    """At the end of a run: how many tests were skipped, and for want of what."""
    yield
    reports = [r for r in terminalreporter.stats.get("skipped", []) if isinstance(r.longrepr, tuple)]
    reasons = Counter(report.longrepr[2].removeprefix("Skipped: ") for report in reports)
    wanted = sum(count for reason, count in reasons.items() if reason.startswith("sample data"))
    said = [f"{wanted} for want of sample data (set BEVEL_SAMPLE_DATA, see CONTRIBUTING.md)"] if wanted else []
    said += [f"{count}: {reason}" for reason, count in reasons.items() if not reason.startswith("sample data")]
    if said:
        terminalreporter.write_line(f"{len(reports)} test{'s' * (len(reports) > 1)} skipped: {'; '.join(said)}")


@pytest.fixture
def thorough(request: pytest.FixtureRequest) -> bool:
    return bool(request.config.option.thorough)


@pytest.fixture
def moments(request: pytest.FixtureRequest) -> random.Random:
    """Draws the moments at which a test kills something; what is printed is shown where the test fails."""
    seed = request.config.option.moments
    print(f"the moments are those of --moments {seed}")
    return random.Random(seed)
