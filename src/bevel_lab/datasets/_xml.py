"""Reads XML into elements that know their line, without entities: those can read files, or grow without end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from bevel_lab.errors import LabError


@dataclass
class Element:
    """An element: its tag, the line its tag starts on, the text directly inside, the elements directly inside."""

    tag: str
    line: int
    text: str = ""
    inside: list[Element] = field(default_factory=list)

    def all(self, tag: str) -> Iterator[Element]:
        """The elements of that tag directly inside, in order."""
        return (element for element in self.inside if element.tag == tag)

    def first(self, path: str) -> Element | None:
        """The first element at ``TAG/TAG/…``, or None."""
        found: Element | None = self
        for tag in path.split("/"):
            found = next(found.all(tag), None) if found else None
        return found


def read(path: Path) -> Element:
    """The root element of a file.

    Raises:
        LabError: naming the file, and the line where it is no XML or has a document type.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise LabError(f"{path} cannot be read ({error.strerror})") from error
    parser = expat.ParserCreate()
    root = Element("", 1)
    opened = [root]

    def start(tag: str, _: dict[str, str]) -> None:
        opened[-1].inside.append(Element(tag, parser.CurrentLineNumber))
        opened.append(opened[-1].inside[-1])

    def text(content: str) -> None:
        opened[-1].text += content

    def refuse(*_: object) -> None:
        raise LabError(f"{path}:{parser.CurrentLineNumber} declares a document type, which is not admitted")

    parser.StartElementHandler, parser.CharacterDataHandler = start, text
    parser.EndElementHandler = lambda _: opened.pop()
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(content, True)
    except expat.ExpatError as error:
        raise LabError(f"{path}:{error.lineno} is no XML ({expat.ErrorString(error.code)})") from error
    except (LookupError, ValueError) as error:  # of encodings
        raise LabError(f"{path}:1 is no XML that can be read ({error})") from error
    return root.inside[0]
