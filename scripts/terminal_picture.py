"""Draws what a terminal showed (from standard input, escape sequences and all) as an SVG.

usage: terminal_picture.py COMMAND <capture >picture.svg
"""

from __future__ import annotations

import io
import os
import re
import sys

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

COLUMNS = 92
# Fonts from the net would not be loaded in a page that shows the picture as an image.
WEB_FONTS = re.compile(r"@font-face \{\{.*?\}\}", re.DOTALL)
CELL = 12.2  # width of a character in rich's drawing
PADDED = re.compile(
    r'x="([\d.]+)" (y="[\d.]+") textLength="([\d.]+)" ([^>]*)>'
    r"((?:&#160;)*)(.*?)((?:&#160;)*)</text>"
)
SCRIPT_FRAME = re.compile(r"^Script (started|done) .*\n", re.MULTILINE)


def shown(capture: str) -> str:
    """What stood in the lines in the end: a line overwritten by itself counts once.

    The place of this tree is nobody's business, so it is written as a relative path.
    """
    text = SCRIPT_FRAME.sub("", capture.replace("\r\n", "\n"))
    lines = (line.rpartition("\r")[2].replace("\x1b[K", "") for line in text.split("\n"))
    return "\n".join(lines).replace(f"{os.getcwd()}/", "").strip("\n")


def trimmed(text: re.Match[str]) -> str:
    """A drawn text without the blanks around it: some viewers drop those and shift the rest."""
    x, y, length, attributes, before, words, after = text.groups()
    blanks = len(before) // 6, len(after) // 6
    start = float(x) + blanks[0] * CELL
    length_left = float(length) - sum(blanks) * CELL
    return f'x="{start:.1f}" {y} textLength="{length_left:.1f}" {attributes}>{words}</text>'


def main() -> None:
    """Draw the capture."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True)
    console.print(Text.assemble(("$ ", "green"), (sys.argv[1].strip(), "bold")))
    console.print(Text.from_ansi(shown(sys.stdin.read())))
    picture = console.export_svg(title="PixFS", code_format=WEB_FONTS.sub("", CONSOLE_SVG_FORMAT))
    sys.stdout.write(PADDED.sub(trimmed, picture))


if __name__ == "__main__":
    main()
