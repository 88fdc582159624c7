"""Which frames a player will ask for next, told from the numbers of those it has read.

Numbers only: what they stand for is `prefetch`'s business. A player goes through a shot forwards,
backwards or in steps, and at an end turns round (ping-pong) or begins again (loop); what it does at
an end is learned when it gets there for the first time.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_MOST_PLAYERS = 4
_FAR = 32


class _Turn(enum.Enum):
    ROUND = "round"


@dataclass
class Player:
    """One reader of a sequence.

    Attributes:
        frame: the number it read last.
        step: how far it goes each time, signed; None until two frames in a row have shown it.
        ends: what it did at the end it reaches with a step of this sign: it turned round, or
            went on at that frame.
    """

    frame: int
    step: int | None = None
    ends: dict[bool, _Turn | int] = field(default_factory=dict)

    def expects(self, frame: int) -> bool:
        """Whether that frame would be one step further, or one after a frame left out."""
        return self.step is not None and frame in (
            self.frame + self.step,
            self.frame + 2 * self.step,
        )

    def go_to(self, frame: int, exists: Callable[[int], bool]) -> None:
        """It has read this frame now."""
        moved = frame - self.frame
        if self.step is not None and moved != self.step and not self.expects(frame):
            if moved != 0 and not exists(self.frame + self.step):
                turned = moved == -self.step
                self.ends[self.step > 0] = _Turn.ROUND if turned else frame
                if turned:
                    self.step = -self.step
            else:
                # Another step or direction in the middle.
                self.step = moved or self.step
        elif self.step is None:
            self.step = moved or None
        self.frame = frame

    def ahead(self, exists: Callable[[int], bool]) -> Iterator[int]:
        """The frames it will read next, the nearest first; ends where that is not known."""
        frame, step = self.frame, self.step
        while step is not None:
            following = frame + step
            if not exists(following):
                end = self.ends.get(step > 0)
                if end is None:
                    return
                if end is _Turn.ROUND:
                    step = -step
                    following = frame + step
                else:
                    following = int(end)
                if following == frame or not exists(following):
                    return
            yield following
            frame = following


class Playback:
    """Those who read one sequence at present; a few of them are told apart. One thread at a
    time."""

    def __init__(self) -> None:
        self._players: deque[Player] = deque(maxlen=_MOST_PLAYERS)

    def read(self, frame: int, exists: Callable[[int], bool]) -> Player:
        """A frame is being read; returns by whom."""
        player = self._who_reads(frame, exists)
        if player is None:
            player = Player(frame)
        else:
            self._players.remove(player)
            player.go_to(frame, exists)
        self._players.append(player)
        return player

    def _who_reads(self, frame: int, exists: Callable[[int], bool]) -> Player | None:
        players = list(self._players)
        for player in reversed(players):
            if player.expects(frame):
                return player
        for player in reversed(players):
            if abs(frame - player.frame) <= _FAR:
                return player
        # A jump is somebody else's, unless one has come to an end and may be beginning again.
        for player in reversed(players):
            if player.step is not None and not exists(player.frame + player.step):
                return player
        return None
