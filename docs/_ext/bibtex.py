"""A citation as BibTeX. The catalogs write one as ``Author, Author: Title. Venue year, doi:…, arXiv:…``."""

from __future__ import annotations

import re


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
    """
    authors, _, rest = citation.partition(": ")
    title, _, place = rest.partition(". ")
    year = re.search(r"\b(?:19|20)\d\d\b", place)
    assert year is not None, f"a citation has a year after its title; got {citation!r}"
    doi, arxiv = re.search(r"doi:(\S+?)(?:,|$)", place), re.search(r"arXiv:([\d.]+)", place)
    venue = re.sub(r",? *(doi|arXiv):\S+", "", place).strip(" ,")
    names = [name.strip() for name in re.sub(r" et al\.?$", ", others", authors).split(",")]
    first = next(word for word in re.findall(r"[A-Za-z]+", title) if len(word) > 3 or word.isupper())
    fields = {"author": " and ".join(names), "title": f"{{{title}}}", "year": year[0]}
    venue = re.sub(rf"[ (]*{year[0]}\)?", "", venue, count=1).strip(" ,")
    if venue:
        fields["booktitle" if venue.isupper() or len(venue) < 12 else "journal"] = venue
    if doi:
        fields["doi"] = doi[1]
    if arxiv:
        fields |= {"eprint": arxiv[1], "archiveprefix": "arXiv"}
    kind = "inproceedings" if "booktitle" in fields else "article" if venue else "misc"
    key = re.sub(r"\W", "", f"{names[0]}{year[0]}{first}").lower()  # a name may have a blank
    return "\n".join([f"@{kind}{{{key},", *(f"  {k} = {{{v}}}," for k, v in fields.items()), "}"])
