"""Telling people and programs that jobs have ended: webhooks and e-mail, at least once."""

from __future__ import annotations
