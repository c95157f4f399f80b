"""The site: every page has a place, and a whole build leads nowhere wrong."""

from __future__ import annotations

import dataclasses
import html
import re
import shlex
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
import torch
from browser import open_page, requests
from needs import needs
from PIL import Image

import bevel
from bevel_lab.bench import page as bench_page
from bevel_lab.bench import rows as bench_rows
from bevel_lab.cli import COMMANDS, main
from bevel_lab.cli._settings import given
from bevel_lab.cli.compare import parser
from bevel_lab.experiment.keys import KEYS, RECIPE_KEYS
from bevel_lab.experiment.record import Record
from bevel_lab.experiment.settings import checked, resolve
from bevel_lab.experiment.trial import Trial

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
WRITTEN = ("gallery/", "reference/", "learn/")  # folders of pages that the build writes
TOCTREE = re.compile(r"^```\{toctree\}\n(.*?)^```", re.MULTILINE | re.DOTALL)

pytestmark = needs("sphinx")


def test_every_page_stands_in_the_contents_once() -> None:
    named = [
        line.strip()
        for block in TOCTREE.findall((DOCS / "index.md").read_text(encoding="utf-8"))
        for line in block.splitlines()
        if line.strip() and not line.startswith(":")
    ]
    pages = [
        p.relative_to(DOCS).with_suffix("").as_posix() for p in DOCS.rglob("*.md") if not p.stem.endswith("-notes")
    ]
    pages = [page for page in pages if page != "index" and not page.startswith(("_", *WRITTEN))]
    assert len(pages) > 20
    assert sorted(name for name in named if not name.startswith(WRITTEN)) == sorted(pages)
    tutorials = [f"learn/{path.stem}" for path in (DOCS / "tutorials").glob("*.py")]
    assert sorted(name for name in named if name.startswith("learn/")) == sorted(tutorials)


def test_the_reference_names_all_that_is_public(extensions: None, tmp_path: Path) -> None:
    import reference

    reference.write(tmp_path)
    pages = {page.stem: page.read_text(encoding="utf-8") for page in (tmp_path / "reference").glob("*.md")}
    described = "\n".join(pages.values())
    names = [f"{home}.{name}" for home, name, _ in reference.public()]
    assert {"bevel.SAU", "bevel.nn.PAU", "bevel.kinked.relu6", "bevel_lab.run"} <= set(names)
    for name in names:
        assert re.search(rf":: {name}$|^- `{name}` is ", described, flags=re.MULTILINE), name
    for command in COMMANDS:
        assert f"usage: bevel {command} " in pages["command-line"]
    for key in (*KEYS, *RECIPE_KEYS):
        assert f"| `{key}` |" in pages["toml-keys"]
    fields = [field.name for kind in (Record, Trial) for field in dataclasses.fields(kind)]
    rows = re.findall(r"^\| `(\w+)` \| `.+` \| .{5,} \|$", pages["record"], flags=re.MULTILINE)
    assert set(fields) <= set(rows)  # every one of them with words of its own
    assert all(f"[{name}](" in pages["spec-strings"] for name in (*bevel.ACTIVATIONS, *bevel.KERNELS))


@pytest.mark.network
@pytest.mark.parametrize(("page", "asserts"), [("index", 0), ("start", 2), ("statistics", 2)])
def test_the_python_of_a_page_runs(page: str, asserts: int) -> None:
    blocks = re.findall(
        r"^```python\n(.*?)^```", (DOCS / f"{page}.md").read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE
    )
    assert blocks
    assert "".join(blocks).count("assert ") >= asserts
    names: dict[str, Any] = {}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for block in blocks:
            exec(compile(block, f"{page}.md", "exec"), names)


@pytest.mark.process
def test_the_comparisons_that_a_newcomer_is_told_to_type_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other half of the way in, a swapped, fine-tuned and exported net, is a tutorial that the build runs."""
    monkeypatch.chdir(tmp_path)
    told = [(DOCS / name).read_text(encoding="utf-8") for name in ("start.md", "tutorials/swap.py")]
    lines = re.findall(r"^(?:#    )?(bevel compare .*)$", "\n".join(told), flags=re.MULTILINE)
    assert len(lines) == 2
    first, second = (shlex.split(line)[1:] for line in lines)
    assert main([*first, "--seeds", "2", "--epochs", "1", "--train-limit", "200", "--workers", "1"]) == 0
    assert (tmp_path / "runs" / "first" / "report.html").is_file()
    resolve(checked(given(parser().read(second[1:]))))  # the same with a larger network: its settings are right


@pytest.mark.slow
def test_pictures_are_those_that_their_commands_draw_today(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the report, which a browser draws, what it shows; of the others every pixel, but for another font's edges."""
    monkeypatch.syspath_prepend(DOCS)
    import pictures

    pictures.library().savefig(tmp_path / "bevel.png", dpi=140)
    bench_page.write_cpu(bench_rows.read(DOCS / "performance.csv"), tmp_path / "performance.md")
    for drawn in (tmp_path / "bevel.png", tmp_path / "img" / "performance.png"):
        with Image.open(drawn) as now, Image.open(DOCS / "img" / drawn.name) as kept:
            assert now.size == kept.size
            assert np.mean(np.abs(np.asarray(now.convert("L"), int) - np.asarray(kept.convert("L"), int))) < 1
    with Image.open(DOCS / "img" / "report.png") as kept:
        assert kept.info[pictures.STAMP] == pictures.report(tmp_path / "report")[1], "run python docs/pictures.py"


class _Page(HTMLParser):
    """The links, anchors, pictures and foreign resources of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.loads: list[str] = []
        self.silent: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        at = {name: value or "" for name, value in attrs}
        self.anchors |= {at[key] for key in ("id", "name") if key in at}
        if tag == "a" and "href" in at:
            self.links.append(at["href"])
        if tag in ("script", "img", "iframe", "source") and "src" in at:
            self.loads.append(at["src"])
        if tag == "link" and at.get("rel") in ("stylesheet", "preload", "icon"):
            self.loads.append(at["href"])
        if tag == "img" and not at.get("alt"):
            self.silent.append(at.get("src", ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", "-W", "--keep-going", "-d", f"{out}/trees"]
    limit = 900  # seconds: many times what it takes, for a loaded machine
    done = subprocess.run([*command, str(DOCS), f"{out}/html"], capture_output=True, text=True, timeout=limit)
    assert done.returncode == 0, done.stderr
    return out / "html"


@pytest.mark.slow
@pytest.mark.process
def test_the_whole_site_is_built_and_every_link_in_it_leads_somewhere(site: Path) -> None:
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    assert len(pages) > 70
    assert site / "explorer" / "index.html" in pages
    cards = {*bevel.ACTIVATIONS, *(f"kernel-{name}" for name in bevel.KERNELS)}
    assert {page.stem for page in (site / "gallery").glob("*.html")} == {"index", *cards}, "no tutorial's activation"
    wrong = []
    for path, page in pages.items():
        name = path.relative_to(site).as_posix()
        wrong += [f"{name} asks another host for {load}" for load in page.loads if urlsplit(load).netloc]
        wrong += [f"{name} shows {picture} without a word" for picture in page.silent]
        if f"bevel {bevel.__version__}" not in path.read_text(encoding="utf-8"):
            wrong.append(f"{name} does not say of which version it is")
        for link in page.links:
            parts = urlsplit(link.lstrip("/") if name == "404.html" else link)  # which is shown at any address
            if parts.scheme or parts.netloc:
                continue  # a link to another host is not followed; one with "=" after its # sets the explorer
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            if not target.exists():
                wrong.append(f"{name} links to {link}")
            elif (
                parts.fragment
                and "=" not in parts.fragment
                and target in pages
                and unquote(parts.fragment) not in pages[target].anchors
            ):
                wrong.append(f"{name} links to {link}, which has no such place")
    assert not wrong, "\n".join(sorted(wrong)[:40])


@pytest.mark.slow
@pytest.mark.process
def test_the_way_in_needs_no_page_but_those_that_it_leads_to(site: Path) -> None:
    """From the first page to a swapped, fine-tuned and exported net, and to a fair comparison.

    The build has run the tutorial; the code and the comparisons of these pages run in the tests above.
    """
    index, start, swap = site / "index.html", site / "start.html", site / "learn" / "swap.html"
    for page, leads_to in ((index, start), (start, swap)):
        links = _Page(page.read_text(encoding="utf-8")).links
        assert leads_to in {(page.parent / unquote(urlsplit(link).path)).resolve() for link in links}, page
    said = html.unescape(re.sub(r"<[^>]+>", "", swap.read_text(encoding="utf-8")))

    def number(words: str) -> float:
        found = re.search(rf"^{words}: ([\d.e+-]+)", said, flags=re.MULTILINE)
        assert found, words
        return float(found[1])

    before = number("accuracy with ReLU")
    assert before > 0.8
    assert number("largest change of the output") < 1e-3
    assert number("accuracy now") == before
    assert number("accuracy after fine-tuning") > before - 0.05
    assert number("largest difference of the exported program") < 1e-3
    for page, folder in ((start, "runs/first"), (swap, "runs/worth")):
        text = html.unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))
        assert re.search(rf"^bevel compare .* --out {folder}$", text, flags=re.MULTILINE), page


@pytest.mark.slow
@pytest.mark.process
def test_a_tutorial_trains_a_task_of_ones_own(site: Path) -> None:
    said = html.unescape(re.sub(r"<[^>]+>", "", (site / "learn" / "own.html").read_text(encoding="utf-8")))
    for arm in ("relu", "sau:n=2"):
        assert re.search(rf"^{arm} +\S.* 0\.[2-9]\d+ ± ", said, flags=re.MULTILINE), arm


@pytest.mark.slow
@pytest.mark.process
def test_the_search_needs_no_network(site: Path, browser: Any) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    open_page(browser, site / "search.html", 1000)
    browser.get((site / "search.html").as_uri() + "?q=epanechnikov")
    found = WebDriverWait(browser, 20).until(lambda b: b.find_elements("css selector", "#search-results li a"))
    assert any("kernel-epanechnikov" in link.get_attribute("href") for link in found)
    assert not [url for url in requests(browser) if urlsplit(url).scheme not in ("file", "data")]


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("page", ["index.html", "gallery/index.html", "gallery/sau.html", "reference/record.html"])
def test_pages_fit_a_phone(site: Path, browser: Any, page: str) -> None:
    from selenium.webdriver.support.wait import WebDriverWait

    open_page(browser, site / page, 390)  # on a busy machine it is not laid out yet when it is loaded
    width = "return document.documentElement.scrollWidth"
    WebDriverWait(browser, 20).until(lambda b: b.execute_script(width) <= 390, "wider than the phone")
    assert not [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
