"""The demonstration: the real program with a broker, a store, a telephony platform and customers, all on this machine.

`command` is the way in and `show` one run. The platform, the customers and the books that are kept of them know
nothing of the router's own code, so that they can tell when it is wrong.
"""

from router.demo.command import run

__all__ = ["run"]
