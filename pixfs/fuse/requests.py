"""How a request's failure is answered."""

from __future__ import annotations

import errno
import functools
import logging
from typing import TYPE_CHECKING, Concatenate, ParamSpec, Protocol, TypeVar, cast

import pyfuse3

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from typing import Any

log = logging.getLogger(__name__)


class Taking(Protocol):
    """Whoever has handlers.

    Attributes:
        taken: how many requests its handlers have taken up.
    """

    taken: int


S = TypeVar("S", bound=Taking)
P = ParamSpec("P")
R = TypeVar("R")


def answered(
    handler: Callable[Concatenate[S, P], Awaitable[R]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
    """Count the request, and turn whatever its handler raises into an errno: any other exception
    would end the mount."""

    @functools.wraps(handler)
    async def guarded(self: S, *args: P.args, **kwargs: P.kwargs) -> R:
        self.taken += 1
        try:
            return await handler(self, *args, **kwargs)
        except pyfuse3.FUSEError:
            raise
        except OSError as error:
            raise pyfuse3.FUSEError(errno_of(error)) from None
        except Exception:
            log.exception("%s failed; answering EIO", handler.__name__)
            raise pyfuse3.FUSEError(errno.EIO) from None

    return cast("Callable[Concatenate[S, P], Coroutine[Any, Any, R]]", guarded)


def errno_of(error: OSError) -> int:
    """The errno to answer for error, never ENOSYS: the kernel would not ask again."""
    if error.errno is None or error.errno <= 0:
        log.error("error without a number; answering EIO", exc_info=error)
        return errno.EIO
    if error.errno == errno.ENOSYS:
        return errno.ENOTSUP
    return error.errno
