"""The faces, one package each; they never import each other."""

from __future__ import annotations
