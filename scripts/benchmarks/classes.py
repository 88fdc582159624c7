"""The classes of content, by name."""

from __future__ import annotations

FILM = "film-like 10-bit log DPX"
FILM_CROPS = "film-like 10-bit log DPX, 1K"
DPX_12 = "12-bit log DPX"
DPX_16 = "16-bit DPX"
TIFF_16 = "16-bit TIFF"
HALF = "half-float EXR"
BAYER = "Bayer raw"
CG = "clean CG, 10-bit DPX"
GREY = "black-and-white scanned as RGB"
SYNTHETIC = "synthetic 10-bit log"
SEQUENCES = "sequences from lossy video"

JUDGED = (
    FILM,
    DPX_12,
    DPX_16,
    TIFF_16,
    HALF,
    BAYER,
    CG,
    GREY,
)
"""The classes that are judged; those that flatter every codec alike are not."""
