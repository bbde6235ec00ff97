"""What the log says of the W3C `traceparent` that an event's attempts go under. Pure; the rest of a trace is the
business of `adapters/tracing.py`.
"""

from __future__ import annotations


def trace_id_of(trace_parent: str | None) -> str | None:
    """The trace's id in `version-trace id-span id-flags`, as people look it up."""
    return trace_parent.split("-")[1] if trace_parent is not None else None
