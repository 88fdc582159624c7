"""Why a message was not taken."""

from __future__ import annotations


class DeliveryError(Exception):
    """A message did not get through; the text says why, without a secret.

    Attributes:
        is_final: whether trying again is of no use.
    """

    def __init__(self, reason: str, *, is_final: bool = False) -> None:
        super().__init__(reason)
        self.is_final = is_final
