"""The commands of ``python -m codec``."""
