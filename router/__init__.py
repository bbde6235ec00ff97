"""webhook-router: telephony events from RabbitMQ, matched and delivered over HTTP. Holds the version only."""

__version__ = "0.1.0"
