"""`doctor`: looks at everything that the router needs, at once and each within its time, and changes none of it."""

from router.bootstrap.doctor.rounds import diagnose, diagnose_without_settings

__all__ = ["diagnose", "diagnose_without_settings"]
