"""Options of the whole suite."""

import importlib.util
import os
from collections import Counter
from collections.abc import Generator

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", default="cpu", help="where tests/triton runs: cpu (Triton's interpreter) or cuda")


def pytest_configure(config: pytest.Config) -> None:
    """A variable says, when Triton is imported, whether its library is interpreted; torch.compile may import it."""
    if config.getoption("--device") == "cpu" and importlib.util.find_spec("triton") is not None:
        os.environ["TRITON_INTERPRET"] = "1"
        importlib.import_module("triton.language")
        del os.environ["TRITON_INTERPRET"]


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
