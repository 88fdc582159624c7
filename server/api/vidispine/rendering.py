"""Documents as XML, JSON and text, and which of the three a client wants.

XML has the namespace and the schema's order. JSON drops the root's name, always makes an array of
what may come several times and writes times without a colon in the zone. Text has lines that end
with CRLF and fields that tabs part.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape, quoteattr

from server.api.vidispine.documents import Document

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "JSON",
    "NAMESPACE",
    "TEXT",
    "XML",
    "is_xml_text",
    "lines",
    "negotiate",
    "shown",
    "text_time",
    "to_json",
    "to_xml",
    "wire_name",
]

NAMESPACE = "http://xml.vidispine.com/schema/vidispine"
XML, JSON, TEXT = "application/xml", "application/json", "text/plain"

# What XML 1.0 cannot hold, escaped or not.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_QUALITY = re.compile(r"\s*q\s*=\s*(0(?:\.\d{0,3})?|1(?:\.0{0,3})?)\s*")


def is_xml_text(text: str) -> bool:
    """Whether XML can hold every character of a text."""
    return _NOT_XML.search(text) is None


def shown(text: str) -> str:
    r"""Text that every form can carry: bytes of a name that are no UTF-8 are shown as ``\xNN``."""
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # Half a character, which no file name and no text that is taken has.
        raw = text.encode("utf-8", "backslashreplace")
    return raw.decode("utf-8", "backslashreplace")


def text_time(at: datetime | None) -> str:
    """A time as XML and text write it: UTC, milliseconds, Z."""
    if at is None:
        return ""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def lines(rows: Sequence[Sequence[object]]) -> bytes:
    """Rows of text: tabs between fields, CRLF after each; control characters cannot part them."""
    return "".join("\t".join(_cell(cell) for cell in row) + "\r\n" for row in rows).encode()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return text_time(value)
    # A tab or line end in a file's name would make another field or line of it.
    return "".join(
        char if char >= " " and char != "\x7f" else f"\\x{ord(char):02x}"
        for char in shown(str(value))
    )


def to_xml(document: Document) -> bytes:
    """The document's root has its class's name."""
    name = type(document).__name__
    parts = ['<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n']
    _write(parts, name, document, f" xmlns={quoteattr(NAMESPACE)}")
    return "".join(parts).encode()


def _write(parts: list[str], name: str, value: object, attributes: str = "") -> None:
    if not isinstance(value, Document):
        parts.append(f"<{name}{attributes}>{_escaped(value)}</{name}>")
        return
    inner: list[str] = []
    for each in fields(value):  # type: ignore[arg-type]
        member = getattr(value, each.name)
        wire = wire_name(each.name)
        if member is None:
            continue
        if each.name in value.attributes:
            attributes += f" {wire}={quoteattr(_plain(member))}"
        elif each.name == value.content:
            inner.append(_escaped(member))
        elif isinstance(member, tuple):
            for one in member:
                _write(inner, wire, one)
        else:
            _write(inner, wire, member)
    parts.append(f"<{name}{attributes}>{''.join(inner)}</{name}>" if inner else
                 f"<{name}{attributes}/>")  # fmt: skip


def _escaped(value: object) -> str:
    # A bare CR would be read as a line end.
    return escape(_plain(value), {"\r": "&#13;"})


def _plain(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime):
        return text_time(value)
    return _NOT_XML.sub(lambda match: f"\\x{ord(match[0]):02x}", shown(str(value)))


def to_json(document: Document) -> bytes:
    """The document's members, without the root's name."""
    return json.dumps(_json(document), ensure_ascii=False).encode()


def _json(value: object) -> Any:  # noqa: ANN401
    if isinstance(value, Document):
        members = {wire_name(each.name): getattr(value, each.name) for each in fields(value)}  # type: ignore[arg-type]
        return {
            name: _json(member)
            for name, member in members.items()
            if member is not None or value.keeps_none
        }
    if isinstance(value, tuple):
        return [_json(one) for one in value]
    if isinstance(value, datetime):
        return text_time(value).replace("Z", "+0000")
    if isinstance(value, str):
        return shown(value)
    return value


def wire_name(name: str) -> str:
    """A field's name as XML and JSON have it: camel case."""
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def negotiate(accept: str, offered: Sequence[str]) -> str | None:
    """Which of the types offered, in order of preference, a client's Accept asks for most.

    None when it takes none of them. An Accept that cannot be read is as good as none.
    """
    wanted: list[tuple[str, float]] = []
    for part in accept.split(","):
        kind, *parameters = part.split(";")
        quality = 1.0
        for parameter in parameters:
            if match := _QUALITY.fullmatch(parameter):
                quality = float(match[1])
        if "/" in kind:
            wanted.append((kind.strip().lower(), quality))
    if not wanted:
        return offered[0]
    best, best_quality = None, 0.0
    for kind in offered:
        # Of the patterns that fit, the one that names the type most exactly speaks for it.
        fitting = [(_precision(pattern, kind), quality) for pattern, quality in wanted]
        precision, quality = max(fitting)
        if precision >= 0 and quality > best_quality:
            best, best_quality = kind, quality
    return best


def _precision(pattern: str, kind: str) -> int:
    """How exactly a pattern of an Accept names a type; -1 when it does not."""
    if pattern == kind or (pattern == "text/xml" and kind == XML):
        return 2
    if pattern.endswith("/*") and kind.startswith(pattern[:-1]):
        return 1
    return 0 if pattern == "*/*" else -1
