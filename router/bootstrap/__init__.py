"""The composition root: the only place that names concrete classes. Commands and tests enter here."""

from __future__ import annotations
