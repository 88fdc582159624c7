"""What ``{storage-resource}`` and ``{file-resource}`` of a request stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from server.api.contract import is_text
from server.api.vidispine.addressing import unescape
from server.api.vidispine.ids import number_of
from server.api.vidispine.notices import FORM
from server.api.vidispine.rendering import is_xml_text
from server.api.vidispine.views import UriChoice, Views, priority_number
from server.core.catalog import JobOptions
from server.core.errors import InvalidValue, NotFound

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from server.api.vidispine.endpoints import Call
    from server.core.catalog import CatalogFile

Options = TypeVar("Options", bound=JobOptions)

__all__ = ["carried", "find_file", "job_metadata", "job_options", "storage_id", "views"]


def storage_id(call: Call) -> int | None:
    """The storage in the path; None where the path names none. Raises NotFound."""
    text = call.path.get("storage")
    return None if text is None else number_of("Storage", text)


async def find_file(call: Call, *, include_item: bool = False) -> CatalogFile:
    """The file that the path names by its id, path or URI. Raises NotFound."""
    storage = storage_id(call)
    catalog, actor = call.core.catalog, call.actor
    if "file" in call.path:
        number = number_of("File", call.path["file"])
        return await catalog.file(actor, number, storage_id=storage, include_item=include_item)

    async def at(path: str) -> CatalogFile:
        return await catalog.file_at(actor, path, storage_id=storage, include_item=include_item)

    async def of_uri(uri: str) -> CatalogFile:
        return await catalog.file_of_uri(actor, uri, storage_id=storage, include_item=include_item)

    if not is_text(call.path.get("path", call.path.get("uri", ""))):
        # The catalogue leaves such names out: no database would hold them.
        raise NotFound("there is no such file", kind="File")
    if "path" in call.path:
        return await _escaped_once_or_twice(call.path["path"], at)
    return await _escaped_once_or_twice(call.path["uri"], of_uri)


async def _escaped_once_or_twice(
    text: str, find: Callable[[str], Awaitable[CatalogFile]]
) -> CatalogFile:
    """Some clients escape a path twice. Once goes first, because a name may hold a ``%``."""
    again = unescape(text)
    try:
        return await find(text)
    except (NotFound, InvalidValue):
        if again == text or not is_text(again):
            raise
    return await find(again)


def views(call: Call) -> Views:
    """What makes documents of files for this request."""
    return Views(call.core.catalog, call.actor, UriChoice.of(call.parameters))


def job_metadata(call: Call) -> dict[str, str]:
    """The pairs of ``jobmetadata``, each ``key=value``. Raises InvalidValue."""
    found: dict[str, str] = {}
    for value in call.parameters.values("jobmetadata"):
        key, equals, text = value.partition("=")
        if not (key and equals):
            # Clients escape the pair once more than its place in a query needs.
            key, equals, text = unescape(value).partition("=")
        if not (key and equals):
            raise InvalidValue("jobmetadata", "each is written key=value")
        found[carried("jobmetadata", key)] = carried("jobmetadata", text)
    return found


def carried(name: str, text: str | None) -> str:
    """Text that is given back as it came. Raises InvalidValue for what XML cannot hold."""
    if text and not is_xml_text(text):
        raise InvalidValue(name, "control characters are not taken")
    return text or ""


def job_options(call: Call, kind: type[Options], **more: Any) -> Options:  # noqa: ANN401
    """What every call that starts a job takes, and what this one takes besides."""
    return kind(
        priority=priority_number(call.parameters),
        notification=call.parameters.text("notification") or "",
        notification_data=carried("notificationData", call.parameters.text("notificationData")),
        notification_form=FORM,
        metadata=job_metadata(call),
        **more,
    )
