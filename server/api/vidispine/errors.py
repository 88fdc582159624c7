"""What the core's refusals are in this interface: the one place that knows their status.

They are told in Vidispine's words. An error document names exactly one fault. JSON shows the
eight others as null, text says it in lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from server.api.vidispine.documents import (
    Conflict,
    ExceptionDocument,
    FileAlreadyExists,
    Forbidden,
    InvalidInput,
    Message,
    NotFoundFault,
    Nothing,
)
from server.api.vidispine.ids import vx
from server.api.vidispine.rendering import JSON, TEXT, lines, shown, to_json, to_xml
from server.api.vidispine.words import field_word, word
from server.core import errors as core
from server.problems import INTERNAL, Problem

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["FAULTS", "Fault", "fault_of", "fault_of_problem", "render_fault"]


@dataclass(frozen=True, slots=True)
class Fault:
    """A refusal: its HTTP status and its document."""

    status: int
    document: ExceptionDocument


def _not_found(error: core.CoreError) -> ExceptionDocument:
    number = getattr(error, "id", None)
    return ExceptionDocument(
        not_found=NotFoundFault(
            type=getattr(error, "kind", "") or None,
            id=vx(number) if isinstance(number, int) else number or None,
            context=None,
        )
    )


def _invalid(error: core.CoreError) -> ExceptionDocument:
    field = getattr(error, "field", None)
    return ExceptionDocument(
        invalid_input=InvalidInput(
            context=None if field is None else field_word(field),
            explanation=error.told(word).removeprefix(f"{field}: "),
        )
    )


def _forbidden(error: core.CoreError) -> ExceptionDocument:
    context, number = _about(error)
    return ExceptionDocument(
        forbidden=Forbidden(context=context, id=number, explanation=error.told(word))
    )


def _conflict(error: core.CoreError) -> ExceptionDocument:
    context, number = _about(error)
    return ExceptionDocument(
        conflict=Conflict(context=context, id=number, explanation=error.told(word))
    )


def _about(error: core.CoreError) -> tuple[str | None, str | None]:
    """What a refusal is about: its kind and id."""
    about = error.about
    return (None, None) if about is None else (about.kind.lower(), vx(about.id))


def _file_exists(error: core.CoreError) -> ExceptionDocument:
    assert isinstance(error, core.FileExists)
    return ExceptionDocument(
        file_already_exists=FileAlreadyExists(
            storage_id=vx(error.storage_id),
            file_id=None if error.file_id is None else vx(error.file_id),
            path=error.path,
        )
    )


def _unauthorized(error: core.CoreError) -> ExceptionDocument:
    return ExceptionDocument(not_authorized=Message(message=error.told(word)))


def _internal(error: core.CoreError) -> ExceptionDocument:
    return ExceptionDocument(internal_server=Message(message=error.told(word)))


FAULTS: dict[type[core.CoreError], tuple[int, Callable[[core.CoreError], ExceptionDocument]]] = {
    core.InvalidValue: (400, _invalid),
    core.MailRefused: (400, _invalid),
    core.NotLoggedIn: (401, _unauthorized),
    core.BadCredentials: (401, _unauthorized),
    core.AccountSuspended: (403, _forbidden),
    core.NotAllowed: (403, _forbidden),
    core.StorageRefused: (403, _forbidden),
    core.NotFound: (404, _not_found),
    core.FileExists: (409, _file_exists),
    core.NameTaken: (409, _conflict),
    core.InUse: (409, _conflict),
    core.LastAdmin: (409, _conflict),
    core.WrongState: (409, _conflict),
    core.TooManyAttempts: (429, _unauthorized),
    core.SealError: (500, _internal),
    core.DatabaseError: (503, _internal),
    core.ServerBusy: (503, _internal),
    core.StorageUnavailable: (503, _internal),
    core.StorageFull: (507, _internal),
}


def fault_of(error: core.CoreError) -> Fault:
    """The refusal for an error of the core; a class without one of its own has its base's."""
    for kind in type(error).__mro__:
        if kind in FAULTS:
            status, document = FAULTS[kind]
            return Fault(status, document(error))
    return Fault(500, _internal(error))


def fault_of_problem(problem: Problem) -> Fault:
    """The refusal for what is no error of the core: a cross-site request, a failure."""
    if problem.status == 501:
        return Fault(501, ExceptionDocument(not_yet_implemented=Nothing()))
    if problem.status == 403:
        return Fault(403, ExceptionDocument(forbidden=Forbidden(explanation=problem.message)))
    message = Message(message=problem.message)
    if problem.status >= INTERNAL.status:
        return Fault(problem.status, ExceptionDocument(internal_server=message))
    explained = InvalidInput(explanation=problem.message)
    return Fault(problem.status, ExceptionDocument(invalid_input=explained))


def render_fault(fault: Fault, kind: str) -> bytes:
    """The answer's body as XML, JSON or text."""
    if kind == JSON:
        return to_json(fault.document)
    return _to_text(fault) if kind == TEXT else to_xml(fault.document)


def _to_text(fault: Fault) -> bytes:
    document, status = fault.document, fault.status
    said: list[tuple[str, str | None]] = []
    title = "The server failed to do it"
    if (missing := document.not_found) is not None:
        title = "A resource could not be found"
        said = [("Type", missing.type), ("ID", missing.id), ("Context", missing.context)]
    elif (invalid := document.invalid_input) is not None:
        title = "An invalid parameter was entered"
        said = [
            ("Context", invalid.context),
            ("ID", invalid.id),
            ("Value", invalid.value),
            ("Reason", invalid.explanation),
        ]
    elif (exists := document.file_already_exists) is not None:
        title = "The file already exists"
        said = [("Storage", exists.storage_id), ("File", exists.file_id), ("Path", exists.path)]
    elif (conflict := document.conflict) is not None:
        title = "The request is in conflict with what there is"
        said = [
            ("Context", conflict.context),
            ("ID", conflict.id),
            ("Reason", conflict.explanation),
        ]
    elif (forbidden := document.forbidden) is not None:
        title = "The operation is not allowed"
        said = [
            ("Context", forbidden.context),
            ("ID", forbidden.id),
            ("Reason", forbidden.explanation),
        ]
    elif (unknown := document.not_authorized) is not None:
        title = "Not authorized"
        said = [("Reason", unknown.message)]
    elif (failed := document.internal_server) is not None:
        said = [("Reason", failed.message)]
    rows = [[f"{status} {title}"], *([f"{name}: {shown(text)}"] for name, text in said if text)]
    return lines(rows)
