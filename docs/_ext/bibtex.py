"""A citation as BibTeX. The catalogs write one as ``Author, Author: Title. Venue year, doi:…, arXiv:…``."""

from __future__ import annotations

import re

CONFERENCES = ("AAAI", "BMVC", "CVPR", "ECCV", "ICCV", "ICLR", "ICML", "ICMLA", "NeurIPS", "WACV")
"""What comes out in proceedings; every other venue is a journal."""
_PLACE = re.compile(r"(?P<venue>.+?)(?:, (?P<series>[A-Z]+))?(?: (?P<volume>\d+))?(?:, (?P<pages>\d+-\d+))?")


def bibtex(citation: str) -> str:
    """Return the BibTeX entry of one citation.

    Example:
        >>> print(bibtex("Shamir, Lin: Smooth Activations. 2022, arXiv:2202.06499"))
        @misc{shamir2022smooth,
          author = {Shamir and Lin},
          title = {{Smooth Activations}},
          year = {2022},
          eprint = {2202.06499},
          archiveprefix = {arXiv},
        }
        >>> print(bibtex("Varshney, Singh: Optimizing. Signal, Image and Video Processing 15, 1323-1330 (2021)"))
        @article{varshney2021optimizing,
          author = {Varshney and Singh},
          title = {{Optimizing}},
          year = {2021},
          journal = {Signal, Image and Video Processing},
          volume = {15},
          pages = {1323--1330},
        }
    """
    authors, _, rest = citation.partition(": ")
    title, _, place = rest.partition(". ")
    year = re.search(r"\b(?:19|20)\d\d\b", re.sub(r"(?:\d+-\d+|(?:doi|arXiv):\S+)", "", place))
    assert year is not None, f"a citation has a year after its title; got {citation!r}"
    names = [name.strip() for name in re.sub(r" et al\.?$", ", others", authors).split(",")]
    first = next(word for word in re.findall(r"[A-Za-z]+", title) if len(word) > 3 or word.isupper())
    fields = {"author": " and ".join(names), "title": f"{{{title}}}", "year": year[0], **_published(place, year[0])}
    kind = "inproceedings" if "booktitle" in fields else "article" if "journal" in fields else "misc"
    key = re.sub(r"\W", "", f"{names[0]}{year[0]}{first}").lower()  # a name may have a blank
    return "\n".join([f"@{kind}{{{key},", *(f"  {k} = {{{v}}}," for k, v in fields.items()), "}"])


def _published(place: str, year: str) -> dict[str, str]:
    """Return the fields of where it came out."""
    doi, arxiv = re.search(r"doi:(\S+?)(?:,|$)", place), re.search(r"arXiv:([\d.]+)", place)
    place = re.sub(r",? *(doi|arXiv):\S+", "", place)
    found = _PLACE.fullmatch(re.sub(rf" *\(?\b{year}\b\)?", "", place, count=1).strip(" ,"))
    fields: dict[str, str] = {}
    if found:
        kind = "booktitle" if found["venue"].partition(" ")[0] in CONFERENCES else "journal"
        fields |= {kind: found["venue"], **{k: v for k, v in found.groupdict().items() if v and k != "venue"}}
    if "pages" in fields:
        fields["pages"] = fields["pages"].replace("-", "--")
    if doi:
        fields["doi"] = doi[1]
    if arxiv:
        fields |= {"eprint": arxiv[1], "archiveprefix": "arXiv"}
    return fields
