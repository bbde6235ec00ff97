"""Every metric of the router: name, labels and meaning. Knows no business; label values are bounded sets.

No metric carries an account, a webhook, a URL or a number: those are in the delivery documents.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector

from router.telemetry.merging import Across

_PREFIX: Final = "webhook_router_"
_DELAY_BUCKETS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800)
_DURATION_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

ACROSS: Final = {
    "webhook_router_in_flight": Across.SUM,
    "webhook_router_held": Across.SUM,
    "webhook_router_circuits": Across.MAX,
    "webhook_router_egress_brake": Across.MAX,
    "webhook_router_unrecorded": Across.SUM,
    "webhook_router_deliveries_due": Across.MAX,
    "webhook_router_oldest_due_age_seconds": Across.MAX,
    "webhook_router_replays": Across.MAX,
    "webhook_router_webhooks": Across.MAX,
    "webhook_router_webhooks_suspended": Across.MAX,
    "webhook_router_consumer_alive": Across.MIN,
    "webhook_router_store_up": Across.MIN,
    "webhook_router_outbox_pending": Across.SUM,
    "webhook_router_amqp_blocked": Across.MAX,
    "webhook_router_event_loop_lag_seconds": Across.MAX,
    "webhook_router_stalled": Across.SUM,
    "webhook_router_config_last_reload_success": Across.MIN,
    "webhook_router_worker_up": Across.MAX,
    "webhook_router_build_info": Across.MAX,
    "process_virtual_memory_bytes": Across.SUM,
    "process_resident_memory_bytes": Across.SUM,
    "process_start_time_seconds": Across.MIN,
    # The limit is each process's own, so the fullest one counts.
    "process_open_fds": Across.MAX,
    "process_max_fds": Across.MIN,
}
"""What each gauge of several worker processes is together. Counters and histograms add up."""


class _Family:
    """Makes metrics under our prefix, on one registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(_PREFIX + name, text, labels, registry=self._registry)

    def gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(_PREFIX + name, text, labels, registry=self._registry)

    def histogram(self, name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(_PREFIX + name, text, labels, buckets=buckets, registry=self._registry)


class Metrics:
    """The router's metrics on one registry; one instance per process."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        family = _Family(self.registry)
        self._add_events(family)
        self._add_deliveries(family)
        self._add_surroundings(family)
        self._add_process(family, version)

    def _add_events(self, family: _Family) -> None:
        counter = family.counter
        self.events_received = counter("events_received", "Events taken from the broker and understood.", "type")
        self.events_stored = counter("events_stored", "Events made durable, redelivered ones included.", "type")
        self.events_unmatched = counter("events_unmatched", "Of these, events that no webhook matched.", "type")
        self.dead_letters = counter("dead_letters", "Messages that could not be understood, by reason.", "reason")
        self.acks_lost = counter("acks_lost", "Batches whose channel was gone before the ack; they come again.")
        self.event_age = family.histogram(
            "event_age_seconds", "From when an event happened to its reception.", _DELAY_BUCKETS, "type"
        )
        self.store_write = family.histogram(
            "store_write_seconds",
            "Duration of a write of a batch: events, deliveries, results.",
            _DURATION_BUCKETS,
            "what",
        )

    def _add_deliveries(self, family: _Family) -> None:
        counter, gauge, histogram = family.counter, family.gauge, family.histogram
        self.attempts = counter("delivery_attempts", "Attempts, by outcome and error.", "outcome", "error")
        self.deliveries = counter("deliveries", "Deliveries that ended, by status.", "status")
        self.results_lost = counter("results_lost", "Results not recorded because another worker took over.")
        self.first_attempt_delay = histogram(
            "event_to_first_attempt_seconds", "From reception to the first attempt.", _DELAY_BUCKETS, "type"
        )
        self.delivered_delay = histogram(
            "event_to_delivered_seconds", "From reception to the customer's 2xx.", _DELAY_BUCKETS, "type"
        )
        self.attempt_duration = histogram("attempt_duration_seconds", "Duration of an attempt.", _DURATION_BUCKETS)
        self.in_flight = gauge("in_flight", "Attempts in flight.")
        self.held = gauge("held", "Deliveries held in memory.")
        self.circuits = gauge("circuits", "Webhooks whose circuit is not closed, by state: open, half_open.", "state")
        self.egress_brake = gauge("egress_brake", "Whether everybody who is tried fails in the same local way.")
        self.unrecorded = gauge("unrecorded", "Results that wait to be recorded, or are being recorded.")
        self.deliveries_due = gauge("deliveries_due", "Deliveries due that no worker holds, at most 10,000.")
        self.oldest_due_age = gauge("oldest_due_age_seconds", "For how long the first of these has been due.")
        self.egress_proxy_faults = counter(
            "egress_proxy_faults", "Connections that the egress proxy did not give, by kind.", "kind"
        )
        self.egress_refusals = counter("egress_refusals", "Requests that the egress policy refused, by rule.", "rule")
        self.replays = gauge("replays", "Bulk replays that are kept, by state: running, done, cancelled.", "state")
        self.replayed = counter("replayed", "What bulk replays released, by kind: deliveries, missing.", "kind")
        self.webhooks = gauge("webhooks", "Webhook definitions in memory.")
        self.webhooks_suspended = gauge("webhooks_suspended", "Webhooks that are suspended.")

    def _add_surroundings(self, family: _Family) -> None:
        counter, gauge = family.counter, family.gauge
        self.api_denied = counter("api_denied", "API requests that were not let in, by reason.", "reason")
        self.consumer_alive = gauge("consumer_alive", "Whether the consumer of a source is subscribed.", "source")
        self.store_up = gauge("store_up", "Whether the last call to MongoDB succeeded.")
        self.operational_events = counter(
            "operational_events", "Operational events that were published, by key.", "key"
        )
        self.outbox_pending = gauge("outbox_pending", "Operational events that this worker knows to be unpublished.")
        self.amqp_blocked = gauge("amqp_blocked", "Whether RabbitMQ holds back what is published (memory, disk).")

    def _add_process(self, family: _Family, version: str) -> None:
        counter, gauge = family.counter, family.gauge
        # The worst of a time as long as between two scrapes: a gauge of now would miss what comes between them, and a
        # histogram of mostly nothing hides the one turn that mattered. The counter catches what fell out of it.
        self.event_loop_lag = gauge("event_loop_lag_seconds", "How late the event loop was at worst in the last 15 s.")
        self.event_loop_stalls = counter("event_loop_stalls", "Turns of the event loop more than 1 s late.")
        self.stalled = gauge("stalled", "Lines of work that have work and do not move.")
        self.log_lines_missing = counter(
            "log_lines_missing", "Log lines that are not there, by reason: lost, suppressed.", "reason"
        )
        self.spans = counter("spans", "Spans for the collector, by result: sent, lost.", "result")
        self.reload_succeeded = gauge("config_last_reload_success", "Whether the last reload was taken; 1 before it.")
        self.worker_up = gauge("worker_up", "Whether a worker process is ready.", "worker")
        self.worker_restarts = counter("worker_restarts", "Worker processes that ended by themselves.", "worker")
        # Memory, CPU, descriptors, under the names that every Prometheus client gives them.
        ProcessCollector(registry=self.registry)
        gauge("build_info", "The running version.", "version").labels(version).set(1)
