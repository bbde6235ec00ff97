"""What goes wrong with a server that we start ourselves. Touches nothing."""

from router.domain.errors import DependencyUnavailable


class EmbeddedError(DependencyUnavailable):
    """A local server is not installed, does not start or died; the text says which and what to do."""
