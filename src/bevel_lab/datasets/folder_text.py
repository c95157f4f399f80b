"""A user's own translations: ``PATH/{train,valid,test}.{SOURCE,TARGET}``, plain or ``.gz``, one sentence a line.

The languages are what the names of the training files end with; ``folder_text:PATH:de-en`` says which is translated
into which, and without it they come in alphabetical order.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from bevel_lab.data.source import Source
from bevel_lab.data.text import ParallelText
from bevel_lab.data.text.from_files import Corpus
from bevel_lab.datasets import DataSet
from bevel_lab.datasets._files import check_folder
from bevel_lab.errors import LabError
from bevel_lab.registry import ParametricEntry

_DIRECTION = re.compile(r"(?P<path>.+):(?P<source>[A-Za-z_]+)-(?P<target>[A-Za-z_]+)")


def _load(argument: str, source: Source) -> ParallelText:
    found = _DIRECTION.fullmatch(argument)
    path = Path(found["path"] if found else argument)
    check_folder(path, "folder_text: takes a path from where bevel is started")
    return Corpus(path, (found["source"], found["target"]) if found else _languages(path)).load(source)


def _languages(folder: Path) -> tuple[str, str]:
    """The two languages of the training files."""
    names = {path.name.removesuffix(".gz") for path in folder.glob("train.*")}
    languages = sorted(name.removeprefix("train.") for name in names)
    if len(languages) != 2:
        raise LabError(
            f"{folder} has training files in {len(languages)} languages ({', '.join(languages) or 'none'}); name them "
            "train.SOURCE and train.TARGET, and say which two with folder_text:PATH:SOURCE-TARGET if there are more."
        )
    return languages[0], languages[1]


def _of(argument: str) -> DataSet:
    return DataSet(f"the translations in {argument}", partial(_load, argument), task="translation")


ENTRIES = {
    "folder_text": ParametricEntry[DataSet](
        "your own translations, PATH/{train,valid,test}.{SOURCE,TARGET}",
        "folder_text:PATH[:SOURCE-TARGET]",
        _of,
        "translation",
    )
}
