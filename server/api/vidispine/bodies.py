"""Documents that clients send, in XML or JSON, read into one kind of tree.

A JSON object's members become child elements, an array's several of the same name, and numbers and
truth values their texts: what a client sends as ``"1500000"`` or ``1500000`` is the same.
"""

from __future__ import annotations

import json
from typing import Any

from server.api.vidispine.rendering import is_xml_text
from server.core.errors import InvalidValue
from server.safexml import Element, XmlError, read_xml

__all__ = ["flag_of", "mapping_of", "number_of", "opaque", "read_document"]

_MAX_DEPTH = 64


def read_document(body: bytes, content_type: str, name: str) -> Element | None:
    """The document called ``name`` in a body, None when the body is empty. Raises InvalidValue.

    Clients send a content type with empty bodies, too; so a body is looked at, not its type, where
    the type does not say XML.
    """
    if not body.strip():
        return None
    kind = content_type.partition(";")[0].strip().lower()
    is_xml = kind.endswith("xml") or (not kind.endswith("json") and body.lstrip()[:1] == b"<")
    return _read_xml(body, name) if is_xml else _read_json(body, name)


def _read_xml(body: bytes, name: str) -> Element:
    try:
        root = read_xml(body)
    except XmlError as error:
        raise InvalidValue("body", f"not XML that is taken here: {error}") from None
    if root.name != name:
        raise InvalidValue("body", f"a {name} is taken here")
    return root


def _read_json(body: bytes, name: str) -> Element:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise InvalidValue("body", "this is no JSON") from None
    if not isinstance(value, dict):
        raise InvalidValue("body", f"a {name} is taken here, which is an object")
    return _element(name, value, 0)


def _element(name: str, value: Any, depth: int) -> Element:  # noqa: ANN401
    if depth > _MAX_DEPTH:
        raise InvalidValue("body", "it is nested too deep")
    if not is_xml_text(name):
        raise InvalidValue("body", "a member's name has characters that XML cannot hold")
    made = Element("", name)
    if isinstance(value, dict):
        for key, member in value.items():
            if member is None:
                continue
            members = member if isinstance(member, list) else [member]
            made.children += [_element(key, one, depth + 1) for one in members if one is not None]
    elif isinstance(value, bool):
        made.text = "true" if value else "false"
    elif isinstance(value, list):
        made.children = [_element("value", one, depth + 1) for one in value]
    else:
        made.text = str(value)
        if not is_xml_text(made.text):
            raise InvalidValue("body", f"{name[:64]!r} has characters that XML cannot hold")
    return made


def number_of(element: Element, name: str) -> int | None:
    """A child's whole number; None without the child. Raises InvalidValue."""
    text = element.text_of(name)
    if not text:
        return None
    digits = text[1:] if text[0] in "+-" else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        raise InvalidValue(name, "a whole number")
    return int(text)


def flag_of(element: Element, name: str) -> bool | None:
    """A child's truth value; None without the child. Raises InvalidValue."""
    text = (element.text_of(name) or "").lower()
    if text not in ("", "true", "false", "1", "0"):
        raise InvalidValue(name, "true or false")
    return text in ("true", "1") if text else None


def mapping_of(element: Element, name: str) -> dict[str, str] | None:
    """A child of ``field`` pairs of ``key`` and ``value``; None without the child."""
    child = element.first(name)
    if child is None:
        return None
    found: dict[str, str] = {}
    for field in child.all("field"):
        key = field.text_of("key")
        if not key:
            raise InvalidValue(name, "each field has a key and a value")
        found[key] = field.text_of("value") or ""
    return found


def opaque(element: Element) -> dict[str, Any]:
    """An element as plain values, for documents that are only kept."""
    members: dict[str, Any] = {f"@{key}": value for key, value in element.attributes.items()}
    for child in element.children:
        value: Any = opaque(child) if child.children or child.attributes else child.text
        members.setdefault(child.name, []).append(value)
    if element.text.strip():
        members["value"] = element.text
    return members
