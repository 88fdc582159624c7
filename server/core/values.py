"""The checks every face's input passes: names, addresses, paths. Each raises InvalidValue."""

from __future__ import annotations

import re
import unicodedata

from server.core.errors import InvalidValue

__all__ = [
    "FASTEST_BPS",
    "PathProblem",
    "check_email",
    "check_name",
    "check_path",
    "check_text",
    "clean_path",
    "is_beneath",
]

FASTEST_BPS = (1 << 50) - 1
"""The highest limit on bandwidth, in bytes a second; beyond it lies what no machine moves."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# Deliberately loose: whether an address exists only a mail to it can tell.
_EMAIL = re.compile(r"[^@\s<>\",;:\\()\[\]]{1,64}@[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_MAX_PATH = 1024
_MAX_PATH_BYTES = 4095
_MAX_PART_BYTES = 255


def check_name(field: str, text: str) -> str:
    """A name for people and URLs: lower-case letters, digits, ``.``, ``_``, ``-``."""
    name = text.strip().lower()
    if not _NAME.fullmatch(name):
        raise InvalidValue(
            field,
            "use 1 to 64 of the letters a-z, digits, '.', '_' and '-', a letter or digit first",
        )
    return name


def check_email(field: str, text: str) -> str:
    """An e-mail address, or "" for none."""
    address = text.strip()
    if address and not _EMAIL.fullmatch(address):
        raise InvalidValue(field, "this is not an e-mail address")
    return address


def check_text(field: str, text: str, longest: int) -> str:
    """One line of text to show: no control or direction-changing characters."""
    line = unicodedata.normalize("NFC", text.strip())
    if len(line) > longest:
        raise InvalidValue(field, f"at most {longest} characters")
    # Cc and Cf are the control and format characters; Zl and Zp end lines; Cs is no text.
    if any(unicodedata.category(c) in ("Cc", "Cf", "Zl", "Zp", "Cs") for c in line):
        raise InvalidValue(field, "control characters are not taken")
    return line


class PathProblem(ValueError):
    """A text that is no path beneath a root; the text says why."""


def clean_path(text: str) -> str:
    """A path beneath a root in its one spelling: no leading, doubled or trailing slash, no dots;
    "" is the root itself. Bytes that are no UTF-8 are surrogate escapes.

    ``/foo/bax///../bar/./`` is ``foo/bar``. Raises PathProblem for a path that would climb out,
    holds a NUL or is longer than the kernel takes. By the text alone: what links do to a path is
    for whoever opens it.
    """
    parts: list[str] = []
    for part in text.split("/"):
        if part == "..":
            if not parts:
                raise PathProblem("the path leads out of the storage")
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    path = "/".join(parts)
    if "\0" in path:
        raise PathProblem("a path holds no NUL")
    try:
        sizes = [len(part.encode("utf-8", "surrogateescape")) for part in parts]
    except UnicodeEncodeError:
        raise PathProblem("the path is not text that a file name can hold") from None
    if sum(sizes) + len(sizes) > _MAX_PATH_BYTES:
        raise PathProblem(f"the path is too long: it may have {_MAX_PATH_BYTES} bytes")
    if max(sizes, default=0) > _MAX_PART_BYTES:
        raise PathProblem(f"the path is too long: a name in it may have {_MAX_PART_BYTES} bytes")
    return path


def check_path(field: str, text: str) -> str:
    """A path as the tables hold it, in its one spelling (`clean_path`)."""
    try:
        path = clean_path(text)
    except PathProblem as problem:
        raise InvalidValue(field, str(problem)) from None
    if len(path) > _MAX_PATH:
        raise InvalidValue(field, f"a path has at most {_MAX_PATH} characters")
    return path


def is_beneath(path: str, folder: str) -> bool:
    """Whether a checked path is a checked folder or lies in it."""
    return folder in ("", path) or path.startswith(folder + "/")
