"""XML from strangers: read whole, with every way to make it grow or fetch refused.

No DTD (so no entity beyond the five of XML itself), bounded depth, elements and attributes.
What comes out are plain elements with their namespace apart, comments and instructions dropped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.parsers import expat

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Element", "XmlError", "read_xml"]

_MAX_DEPTH = 64
_MAX_ELEMENTS = 200_000
_MAX_ATTRIBUTES = 64
_LONGEST_ATTRIBUTE = 1 << 16
_ENCODINGS = frozenset({"utf-8", "us-ascii", "ascii", "utf8"})
# Stands between namespace and name in what expat reports; can be in neither.
_SEPARATOR = "\n"


class XmlError(Exception):
    """The document is not well-formed, or asks for what is not given to strangers."""


@dataclass(slots=True)
class Element:
    """One element.

    Attributes:
        namespace: "" for none.
        text: all character data directly in it, in order.
    """

    namespace: str
    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    text: str = ""
    children: list[Element] = field(default_factory=list)

    def all(self, name: str) -> Iterator[Element]:
        """The children of this name, in document order, whatever their namespace."""
        return (child for child in self.children if child.name == name)

    def first(self, name: str) -> Element | None:
        """The first child of this name."""
        return next(self.all(name), None)

    def text_of(self, name: str) -> str | None:
        """The text of the first child of this name, without the blanks around it."""
        child = self.first(name)
        return None if child is None else child.text.strip()


def read_xml(data: bytes, *, max_elements: int = _MAX_ELEMENTS) -> Element:
    """The root of a document in UTF-8. Raises XmlError, which says what and where."""
    return _Reader(max_elements).read(data)


class _Reader:
    def __init__(self, max_elements: int) -> None:
        self._parser = expat.ParserCreate(namespace_separator=_SEPARATOR)
        self._parser.buffer_text = True
        self._parser.XmlDeclHandler = self._declaration
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._characters
        self._left = max_elements
        self._open: list[tuple[Element, list[str]]] = []
        self._root: Element | None = None

    def read(self, data: bytes) -> Element:
        try:
            self._parser.Parse(data, True)
        except expat.ExpatError as error:
            said = expat.ErrorString(error.code)
            raise XmlError(f"line {error.lineno}, column {error.offset}: {said}") from None
        except (UnicodeError, ValueError, LookupError):
            raise XmlError("it is not in the encoding that it says") from None
        assert self._root is not None, "expat wants one root"
        return self._root

    def _declaration(self, version: str, encoding: str | None, standalone: int) -> None:
        if encoding is not None and encoding.lower() not in _ENCODINGS:
            raise XmlError("only UTF-8 is taken")

    def _doctype(self, *declared: object) -> None:
        raise XmlError("a document type (DTD) is not taken")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._left -= 1
        if self._left < 0 or len(self._open) >= _MAX_DEPTH or len(attributes) > _MAX_ATTRIBUTES:
            raise XmlError("it has too many elements or attributes, or is nested too deep")
        if any(len(value) > _LONGEST_ATTRIBUTE for value in attributes.values()):
            raise XmlError("an attribute is too long")
        namespace, _, local = name.rpartition(_SEPARATOR)
        plain = {key.rpartition(_SEPARATOR)[2]: value for key, value in attributes.items()}
        element = Element(namespace, local, plain)
        if self._open:
            self._open[-1][0].children.append(element)
        else:
            self._root = element
        self._open.append((element, []))

    def _end(self, name: str) -> None:
        element, parts = self._open.pop()
        element.text = "".join(parts)

    def _characters(self, text: str) -> None:
        self._open[-1][1].append(text)
