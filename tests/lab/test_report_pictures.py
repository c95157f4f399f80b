"""What a report shows of test samples: the same rows for every arm, whole PNG files only, and all text as text."""

from __future__ import annotations

import base64
import dataclasses
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import open_page, requests
from PIL import Image
from synthetic_records import records

from bevel_lab.experiment.record import Picture, Record
from bevel_lab.report import judge
from bevel_lab.report.analysis.cells import judge_cells
from bevel_lab.report.analysis.data_facts import facts
from bevel_lab.report.figures import samples
from bevel_lab.report.pages import compact
from bevel_lab.report.text import findings

HOSTILE = '"><img src=x onerror=alert(1)>'
ARMS = ["relu", "sau", "frelu"]


def png(width: int, height: int, shade: int) -> bytes:
    """A grey ramp."""
    pixels = (np.add.outer(np.arange(height), np.arange(width)) * 3 + shade).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def uri(data: bytes) -> str:
    return samples.PNG + base64.b64encode(data).decode()


def with_pictures(found: list[Record], make: Any) -> list[Record]:
    """The records with pictures where a run has any: in those of seed 0."""
    return [r if r.trial.seed else dataclasses.replace(r, pictures=make(r.label)) for r in found]


def drawn(label: str) -> list[Picture]:
    shade = 40 * (1 + ARMS.index(label))
    strip = uri(png(400, 50, 7))
    photo, marked, guess = (uri(png(320, 240, value)) for value in (0, 9, shade))
    return [
        Picture(title="photo 3", given=photo, truth=marked, guess=guess),
        Picture(title="clip 8", given=strip, truth="left", guess=f"{label} says right"),
        Picture(title="digit", given=uri(png(8, 8, 1)), truth="seven", guess="one"),
    ]


def said(label: str) -> list[Picture]:
    return [
        Picture(title=f"line {HOSTILE}", given="A dog | runs.\nFast.", truth="שלום *Hund*", guess=f"{label} {HOSTILE}"),
        Picture(title="line 2", given="", truth="Ja.", guess="Nein."),
    ]


@pytest.fixture(scope="module")
def both() -> list[Record]:
    """A cell of images and one of texts."""
    photos = with_pictures(records(ARMS, seeds=2, epochs=2), drawn)
    return photos + with_pictures(records(ARMS, seeds=2, epochs=2, dataset="wmt", model="transformer"), said)


@pytest.fixture(scope="module")
def written(both: list[Record], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judge(both, "relu").write(tmp_path_factory.mktemp("seen"))


def test_every_sample_is_a_row_and_every_arm_a_column(both: list[Record]) -> None:
    found = samples.gallery(judge_cells(both, "relu")[0])
    assert found is not None
    order = [arm.name for arm in judge_cells(both, "relu")[0].arms]
    assert found.head == ["sample", "given", "truth", *order]
    assert [title for title, _ in found.rows] == ["photo 3", "clip 8", "digit"]
    for (_, fields), *expected in zip(found.rows, *(drawn(name) for name in order), strict=True):
        assert [shown for _, shown in fields[2:]] == [samples.shown(picture.guess) for picture in expected]
    assert found.rows[0][1][0][1].png == png(320, 240, 0)


def test_a_sample_that_an_arm_did_not_see_is_a_dash_and_no_pictures_are_no_table(both: list[Record]) -> None:
    lost = [dataclasses.replace(r, pictures=r.pictures[1:]) if r.label == "sau" else r for r in both]
    (cell, _) = judge_cells(lost, "relu")
    found = samples.gallery(cell)
    assert found is not None
    place = found.head.index("sau") - 1
    assert [fields[place][1].text for _, fields in found.rows] == ["–", "sau says right", "one"]
    assert samples.gallery(judge_cells(records(["relu"], seeds=1), "relu")[0]) is None
    only_truth = with_pictures(records(["relu"], seeds=1), lambda _: said("x")[1:])
    found = samples.gallery(judge_cells(only_truth, "relu")[0])
    assert found is not None
    assert found.head == ["sample", "truth", "relu"]


@pytest.mark.parametrize(
    "content",
    [
        samples.PNG,
        samples.PNG + "AAAA",
        uri(png(9, 9, 0))[:-30],
        uri(png(9, 9, 0)) + '" onerror="alert(1)',
        uri(b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"),
        uri(png(9, 9, 0)[:30] + b"\xff" + png(9, 9, 0)[31:]),
        uri(b"GIF89a" + png(9, 9, 0)),
        uri(png(9, 9, 0) + b"something else"),
    ],
)
def test_what_is_no_whole_png_file_is_not_embedded(content: str) -> None:
    assert samples.shown(content) == samples.Shown(samples.UNREADABLE)


def test_other_addresses_are_text() -> None:
    for content in ("data:image/svg+xml;base64,PHN2Zz4=", "https://example.org/a.png", "DATA:image/png;base64,AAAA"):
        assert samples.shown(content) == samples.Shown(content)


@pytest.mark.parametrize(
    ("size", "drawn_size"), [((8, 8), (96, 96)), ((320, 240), (224, 168)), ((400, 50), (400, 50)), ((64, 64), (64, 64)),
                             ((2000, 100), (560, 28)), ((28, 28), (84, 84))]
)  # fmt: skip
def test_small_images_grow_by_whole_factors_and_large_ones_shrink(
    size: tuple[int, int], drawn_size: tuple[int, int]
) -> None:
    assert samples.shown(uri(png(*size, 0))).drawn == drawn_size


def test_the_page_escapes_every_text_and_describes_every_image(written: Path) -> None:
    html = written.read_text(encoding="utf-8")
    images = re.findall(r"<img [^>]*>", html)
    assert len(images) == 5 + 1 + 1
    for image in images:
        assert re.fullmatch(
            r'<img src="data:image/png;base64,[A-Za-z0-9+/=]+" alt="[^"<]+: [^"<]+" width="\d+" height="\d+"'
            r'( class="grown")?>',
            image,
        )
    assert 'alt="photo 3: guess of sau"' in html
    assert HOSTILE not in html
    assert html.count("&#34;&gt;&lt;img src=x onerror=alert(1)&gt;") == 4
    assert html.count("What it sees</h3>") == 2


SEEN = """
return [...document.querySelectorAll('table.pictures')].map(table => ({
    images: [...table.querySelectorAll('img')].map(i => [i.complete, i.naturalWidth, i.getBoundingClientRect().width]),
    alts: [...table.querySelectorAll('img')].every(i => i.alt),
    texts: [...table.querySelectorAll('tbody td')].map(c => c.innerText),
    inside: table.parentElement.getBoundingClientRect().right <= document.documentElement.clientWidth,
    scrolls: getComputedStyle(table.parentElement).overflowX,
}));
"""


@pytest.mark.parametrize("width", [1200, 390])
def test_a_browser_shows_the_samples(browser: Any, written: Path, width: int) -> None:
    open_page(browser, written, width)
    photos, texts = browser.execute_script(SEEN)
    assert sorted({natural for _, natural, _ in photos["images"]}) == [8, 320, 400]
    assert {(natural, shown) for _, natural, shown in photos["images"]} == {(320, 224), (400, 400), (8, 96)}
    assert all(done for done, _, _ in photos["images"])
    assert photos["alts"]
    assert f"relu {HOSTILE}" in texts["texts"]
    for table in (photos, texts):
        assert table["inside"]
        assert table["scrolls"] == "auto"
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []
    assert {url for url in requests(browser) if not url.startswith("data:image/png")} == {written.as_uri()}


def test_the_markdown_page_has_them_as_files(both: list[Record], tmp_path: Path) -> None:
    judge(both, "relu").write_markdown(tmp_path / "page.md", title="t", command="c")
    text = (tmp_path / "page.md").read_text(encoding="utf-8")
    named = re.findall(r"!\[[^\]]*\]\((img/[^)]+\.png)\)", text)
    assert len(named) == len(set(named)) == 7
    assert {path.name for path in (tmp_path / "img").glob("*.png")} == {Path(name).name for name in named}
    order = [arm.name for arm in judge_cells(both, "relu")[0].arms]
    assert (tmp_path / named[2 + order.index("frelu")]).read_bytes() == png(320, 240, 120)
    assert "<img" not in text
    block = text[text.index("### What it sees: transformer on wmt") :].split("\n\n")[1].splitlines()
    assert {len(re.findall(r"(?<!\\)\|", line)) for line in block} == {4 + 3}
    assert r"A dog \| runs. Fast." in block[2]


def test_compact_records_keep_words_and_leave_images(both: list[Record]) -> None:
    kept = {r.trial.dataset: compact.compact(r).pictures for r in both if not r.trial.seed and r.label == "sau"}
    assert kept == {"digits": [], "wmt": said("sau")}


def test_the_facts_of_the_data_stand_in_the_provenance(tmp_path: Path) -> None:
    found = [
        dataclasses.replace(r, data={"train": 1437, "digest": "ab12", "skipped": "2 boxes <of no area>"})
        for r in records(["relu", "gelu"], seeds=2, epochs=1)
    ]
    assert facts(found) == [("digits", "train 1,437; digest ab12; skipped 2 boxes <of no area>")]
    assert "skipped 2 boxes &lt;of no area&gt;" in judge(found, "relu").write(tmp_path).read_text(encoding="utf-8")
    moved = [dataclasses.replace(r, data=r.data | {"digest": "cd34"}) if r.label == "gelu" else r for r in found]
    assert "digest ab12 (relu) and cd34 (gelu)" in facts(moved)[0][1]
    (cell,) = judge_cells(moved, "relu")
    assert findings.caveats(cell)[0] == "The runs did not see the same data: its digest is ab12 (relu) and cd34 (gelu)."
    assert not any("same data" in note for note in findings.caveats(judge_cells(found, "relu")[0]))
