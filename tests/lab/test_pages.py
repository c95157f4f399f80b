"""Sentences of pages that speak of numbers in a committed file, and what the site is made of without its build."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from kept import kept_by
from needs import needs

import bevel
import bevel_lab
from bevel_lab.models import MODELS

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

pytestmark = needs("sphinx")


def test_the_memory_in_the_readmes_picture_is_that_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS)
    import pictures

    kept = {record.label: record.saved_bytes for record in bevel_lab.Results.read(pictures.RECORDS).records}
    assert kept["sau"] == kept["frelu"] == pytest.approx(kept["relu"], rel=0.005)
    lenet, x = MODELS["lenet"], torch.randn(2, 1, 28, 28)
    relu, *ours = (
        kept_by(lenet.build(made, 1, (28, 28), 10), x)[1]
        for made in (lambda channels: torch.nn.ReLU(), bevel.SAU, bevel.FReLU, bevel.SmoothFReLU)
    )
    assert ours == [relu] * 3


def test_the_page_on_export_counts_the_operators_that_were_exported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS)
    import exported

    committed, counts = exported.rows(), {5: "five", 10: "ten"}
    page = (DOCS / "export.md").read_text(encoding="utf-8")
    lines = re.findall(r"^\| ([A-Z]\w+(?: and \w+)?)[ ,]((?!after).*) \| (\w+): (.*) \|$", page, flags=re.MULTILINE)
    named = {"SAU": "sau", "SmoothFReLU": "smooth_frelu", "Gate": "gate", "FReLU": "frelu"}
    told = {named[one]: (count, ops) for names, _, count, ops in lines for one in names.split(" and ")}
    assert told.keys() == set(named.values())
    for name, (count, ops) in told.items():
        assert count == counts[len(committed[name].split())], name
        assert set(re.findall(r"`(\w+)`", ops)) == set(committed[name].split()), name


def test_a_tutorial_runs_again_when_the_library_has_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(DOCS / "_ext")
    import tutorials

    source, learn = tmp_path / "src" / "bevel" / "new.py", tmp_path / "docs" / "learn"
    kept = learn / "swap.py.md5"
    source.parent.mkdir(parents=True)
    learn.parent.mkdir()
    for text, stays in (("1", False), ("1", True), ("2", False), ("2", True)):
        source.write_text(text)
        tutorials.forget(learn, tutorials.digest(tmp_path))
        assert kept.exists() == stays
        kept.write_text("what sphinx-gallery writes when it has run a tutorial")
    assert '"tutorials"]' in (DOCS / "conf.py").read_text(), "it takes part in the build"
    assert len({tutorials.digest(ROOT), tutorials.digest(ROOT / "docs"), tutorials.digest(ROOT)}) == 2
