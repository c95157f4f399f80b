"""The gallery: every item of the catalogs has a card, and what a card shows is so and runs."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import bevel
from bevel_lab.bench import rows
from bevel_lab.bench.timing import Sample
from bevel_lab.cli import main
from bevel_lab.cli._settings import given
from bevel_lab.cli.compare import parser
from bevel_lab.experiment.settings import checked, resolve

OF_AN_ACTIVATION = {
    "limits",
    "bound",
    "hardens to",
    "keeps for backward",
    "rule of saving",
    "second derivative",
    "ONNX",
}
OF_AN_ACTIVATION |= {"torch.compile"}
JOURNALS = {
    "IEEE Access",
    "IEEE Transactions on Information Theory",
    "IEEE Transactions on Pattern Analysis and Machine Intelligence",
    "Neural Networks",
    "Neurocomputing",
    "Signal, Image and Video Processing",
}
ITEMS = [*bevel.ACTIVATIONS, *(f"kernel-{name}" for name in bevel.KERNELS)]
CITATIONS = dict.fromkeys(citation for entry in bevel.ACTIVATIONS.values() for citation in entry.citations)


@pytest.fixture(scope="module")
def gallery(extensions: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cards without their pictures, which take the longest."""
    import cards

    folder = tmp_path_factory.mktemp("docs")
    cards.write(folder, draw=lambda drawn, page, what: f"{page}-{what or 'small'}.svg")
    return folder / "gallery"


def _card(gallery: Path, page: str) -> str:
    return (gallery / f"{page}.md").read_text(encoding="utf-8")


def test_every_item_of_the_catalogs_has_a_card_with_all_that_a_card_has(gallery: Path) -> None:
    from mathml import mathml

    index = _card(gallery, "index")
    assert len(ITEMS) == len(list(gallery.glob("*.md"))) - 1
    for page in ITEMS:
        name = page.removeprefix("kernel-")
        item: Any = bevel.ACTIVATIONS[name] if page == name else bevel.KERNELS[name]
        card = _card(gallery, page)
        assert f":link: {page}\n" in index
        for said in (item.latex, item.use, item.avoid):
            assert said, page
            assert said in card, page
        assert mathml(item.latex).startswith("<math"), page
        for what in ("value", "slope", "curvature"):
            assert re.search(rf"!\[{what} of .*\]\(img/{page}-{what}\.svg\)", card), (page, what)
        found = re.findall(r"^\| ([\w. ]+) \|", card, flags=re.MULTILINE)
        wanted = {"name", "cost", "hardens to"} | ({"support", "gap"} if page != name else OF_AN_ACTIVATION)
        assert wanted <= set(found), page


@pytest.mark.parametrize("page", ITEMS)
def test_a_card_names_its_sources_or_says_that_it_has_none(gallery: Path, page: str) -> None:
    name, card = page.removeprefix("kernel-"), _card(gallery, page)
    cited = bevel.KERNELS[name].relu_rows if page != name else (name,)
    sources = dict.fromkeys(citation for row in cited for citation in bevel.ACTIVATIONS[row].citations)
    assert card.count("  year = {") == len(sources)
    for citation in sources:
        assert f"- {citation.partition(',')[0]}" in card
    assert ("No paper" in card) is not bool(sources)
    assert "## Source\n" in card


@pytest.mark.parametrize("kernel", [name for name in bevel.KERNELS if bevel.KERNELS[name].relu_rows])
def test_a_kernel_links_the_activations_that_it_makes(gallery: Path, kernel: str) -> None:
    x = torch.linspace(-3, 3, 61, dtype=torch.float64)[:, None]
    for row in bevel.KERNELS[kernel].relu_rows:
        assert f"[{row}]({row}.md)" in _card(gallery, f"kernel-{kernel}")
        f = bevel.create({"sau": "sau:form=exact,n=2", "smu1": "smu1:mu=0.5"}.get(row, row)).double()
        with torch.no_grad():
            y, zero = f(x), f(torch.zeros(1, 1, dtype=torch.float64))
            left, right = (float((f(2 * end) - f(end)) / end) for end in torch.tensor([[[-1e6]], [[1e6]]]).double())
        n = (right - left) * bevel.KERNELS[kernel].gap / float(zero)
        kinked = bevel.PiecewiseLinear(left, 0.0, knots=[0.0], jumps=[right - left])
        torch.testing.assert_close(y, bevel.mollify(kinked, kernel, n)(x), atol=1e-5, rtol=0)


def _blocks(card: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", card, flags=re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("page", ITEMS)
def test_the_python_of_a_card_runs(gallery: Path, page: str) -> None:
    (block,) = _blocks(_card(gallery, page), "python")
    with torch.random.fork_rng():
        model, example = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)), torch.randn(3, 4)
        before = model(example)
        names: dict[str, Any] = {"model": model, "example": example}
        exec(compile(block, page, "exec"), names)
        if "result" in names and "preserve" not in block:
            (site,) = names["result"].sites
            assert site.bound is not None
            torch.testing.assert_close(model(example), before, atol=10 * site.bound + 1e-5, rtol=0)


@pytest.mark.parametrize("name", list(bevel.ACTIVATIONS))
def test_the_commands_of_a_card_are_taken(gallery: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = _blocks(_card(gallery, name), "sh")
    shown, compared = (shlex.split(line)[1:] for line in block.splitlines())
    assert main(shown) == 0
    assert name in capsys.readouterr().out
    resolve(checked(given(parser().read(compared[1:]))))


def test_the_cost_of_a_card_is_from_the_rows_of_the_whole_catalog_where_no_other_has_it(
    extensions: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import facts

    bench = rows.Collector("a machine", {"torch": "2.15"})
    at = {"elements": 1 << 20, "dtype": "float32", "layout": "nchw", "threads": 1}
    bench.add("catalog", "both", {"relu": Sample([1.0]), "pelu": Sample([3.5]), "sau": Sample([9.0])}, **at)
    bench.add("speed", "both", {"relu": Sample([1.0]), "sau": Sample([1.25])}, **at)
    rows.write(bench.rows, tmp_path / "rows.csv")
    monkeypatch.setattr(facts, "ROWS", tmp_path / "rows.csv")
    facts.measured.cache_clear()
    try:
        unit = "(times ReLU's, forward and backward, float32, one CPU thread)"
        assert facts.cost("pelu") == f"3.50 on 4 MB {unit}"
        assert facts.cost("sau") == f"1.25 on 4 MB {unit}"
        assert facts.cost("mish") == "no committed row measures it"
    finally:
        facts.measured.cache_clear()


def test_cards_state_what_is_measured(gallery: Path) -> None:
    sau, student = _card(gallery, "sau"), _card(gallery, "kernel-student")
    assert "| limits | far left slope 0.15, far right slope 1 |" in sau
    assert "| hardens to | `LeakyReLU(0.15)`, from which it is at most 2e-05 away at its initial values |" in sau
    assert "| keeps for backward | its output (4 bytes an element) |" in sau
    assert "| second derivative | by autograd, equal to the slope's differences |" in sau
    assert "| ONNX | 10 standard operators: 2 × Add, Erf, Exp, 5 × Mul, Neg |" in sau
    assert "| n for an error of 0.01 | 50 |" in student
    assert 'bevel.swap(model, "sau", example)' in sau
    assert 'bevel.swap(model, "gelu", example, preserve=False)' in _card(gallery, "gelu")
    assert "bevel's own" not in _card(gallery, "index")  # whose rows are others' functions, too


@pytest.mark.parametrize("citation", CITATIONS)
def test_a_citation_is_of_the_kind_of_its_venue(extensions: None, citation: str) -> None:
    from bibtex import bibtex

    entry = bibtex(citation)
    fields = dict(re.findall(r"^  (\w+) = \{(.*)\},$", entry, flags=re.MULTILINE))
    kind = entry.partition("{")[0]
    assert kind == ("@article" if "journal" in fields else "@inproceedings" if "booktitle" in fields else "@misc")
    assert fields.get("journal", "Neurocomputing") in JOURNALS
    assert not re.search(r"\d", fields.get("booktitle", "") + fields.get("journal", ""))
    place = citation.partition(": ")[2].partition(". ")[2]
    for field in ("volume", "pages", "year", "doi", "eprint"):
        if field in fields:
            assert fields[field].replace("--", "-") in place


def test_volume_pages_and_series_are_fields_of_their_own(extensions: None) -> None:
    from bibtex import bibtex

    entries = {name: bibtex(bevel.ACTIVATIONS[name].citations[0]) for name in ("sau", "frelu", "erelu", "apl", "relu")}
    for field in ("booktitle = {ECCV}", "series = {LNCS}", "volume = {13681}"):
        assert f"  {field}," in entries["sau"]
    for field in ("journal = {Signal, Image and Video Processing}", "volume = {15}", "pages = {1323--1330}"):
        assert f"  {field}," in entries["frelu"]
    assert "  volume = {275},\n" in entries["erelu"]
    assert entries["apl"].startswith("@inproceedings{")
    assert "  booktitle = {ICLR workshop}," in entries["apl"]
    assert "  title = {{Rectified Linear Units Improve Restricted Boltzmann Machines}}," in entries["relu"]
