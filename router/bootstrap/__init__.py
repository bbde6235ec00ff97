"""The composition root: the only place that names concrete classes. Commands and tests enter here."""

from router.bootstrap.access import open_publisher, openapi_document
from router.bootstrap.serve import serve
from router.bootstrap.store import Store, open_store

__all__ = ["Store", "open_publisher", "open_store", "openapi_document", "serve"]
