"""Servers that we start as children for trials and tests: a MongoDB-compatible store and a private RabbitMQ node."""
