"""A PixMover client for tests, as a script would write one: cookies kept, forms sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["PASSWORD", "PixMover"]

PASSWORD = "correct horse battery"


class PixMover:
    """Calls the PixMover face of a server on the loopback."""

    def __init__(self, port: int, **options: Any) -> None:  # noqa: ANN401
        self.http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}/pixmover/v1", timeout=120, **options
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.http.aclose()

    async def get(self, path: str, /, **query: Any) -> httpx.Response:  # noqa: ANN401
        return await self.http.get(path, params=query)

    async def post(self, path: str, /, **form: Any) -> httpx.Response:  # noqa: ANN401
        return await self.http.post(path, data=form)

    async def put(self, path: str, /, **form: Any) -> httpx.Response:  # noqa: ANN401
        return await self.http.put(path, data=form)

    async def login(self, name: str, password: str = PASSWORD) -> dict[str, Any]:
        """Log in; fails the test when that is refused."""
        answer = await self.post("/login", name=name, password=password)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body
