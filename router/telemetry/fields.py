"""The closed list of what a log line may hold: each field with its meaning. Knows no business; touches nothing.

Tests look for each one that our calls use, and at the lines of running routers. A field that is not here is a mistake:
a misspelt one, or a second name for what has one already.
"""

from __future__ import annotations

from typing import Final

ALWAYS: Final = {
    "ts": "when the line was written: RFC 3339, UTC, to the millisecond, by the host's clock",
    "level": "`debug`, `info`, `warning`, `error`, `critical`",
    "event": "what happened, a name of the table below; of a library's line, its text",
    "logger": "the part of the program",
    "version": "of the router; in JSON only",
    "instance": "host, process id and a random part: the owner that leases in MongoDB name, who has a number behind it "
    "after a reload; in JSON only",
}
"""What every line holds."""

WIDE: Final = {
    "account_id": "the account",
    "event_id": "the event, as its publisher named it",
    "event_type": "`call`, `cdr`, `user`",
    "event_name": "as `call.received`",
    "webhook_id": "the webhook",
    "delivery_id": "the delivery",
    "attempt": "its number, from 1",
    "trigger": "`replay` or `test`, where somebody asked for the attempt",
    "endpoint_host": "the host of the webhook's URL, and nothing else of it",
    "outcome": "`delivered`, `retry`, `gone`, `blocked`, `not_an_attempt`",
    "status_code": "of the customer's answer",
    "error": "why an attempt failed, as in the attempt log; else the class or the words of an error",
    "detail": "what is known beyond that; never the customer's data",
    "duration_ms": "an attempt: its duration. An event: from reception until it was durable",
    "next_attempt_at": "when the next attempt is due",
    "ended": "the status of a delivery that is over",
    "trace_id": "the trace, where [tracing](#tracing) is on and follows the event",
    "suppressed": "how many lines of this kind were left out before this one",
    "source": "the source of the configuration",
    "age_ms": "how old the event was at its reception, the publisher's clock put right",
    "size": "bytes of the payload, or of a message",
    "webhooks": "webhooks that were looked at, or that are meant",
    "deliveries": "deliveries that were stored",
}
"""What `attempt` and `event_stored` hold, and others about the same things."""

OTHERS: Final = {
    "action": "what a killpoint of the tests does",
    "after_seconds": "how long it was away",
    "again_in_seconds": "how long until a worker process is started again",
    "allow": "`egress.allow`",
    "backlog": "messages that waited when consuming began",
    "cancelled": "deliveries that were cancelled",
    "changed": "settings that a reload changed",
    "changed_meanwhile": "webhooks that somebody else wrote while their secrets were being sealed",
    "configured": "the settings that an error is about",
    "code": "the number of MongoDB's error",
    "dead_letters": "dead letters whose bytes were taken out",
    "deny_ports": "`egress.deny_ports`, or `default`",
    "events": "events of a batch, or whose payload was taken out",
    "every_seconds": "how often",
    "exception": "the traceback of an error",
    "exit_code": "of this process or of a worker process",
    "failing_seconds": "for how long the webhook has done nothing but fail",
    "failures": "failures in a row",
    "from_store_seconds": "by how much the host's clock is ahead of MongoDB's",
    "host": "the address that the API listens on",
    "hosts": "customers' hosts that failed alike",
    "kind": "of a failure of our own way out",
    "matched": "what a replay goes through, as counted when it began",
    "method": "of an API request",
    "name": "of a change of the store, or of a killpoint of the tests",
    "number": "of a change of the store",
    "parts": "lines of work",
    "path": "the route of an API request, without what was in it",
    "patience_seconds": "how long is waited for it",
    "pid": "of a worker process",
    "port": "that the API listens on",
    "problems": "what is wrong with a configuration, and where",
    "proxy": "`egress.proxy_url`, without user and password",
    "queue": "of RabbitMQ",
    "reason": "why: the words are listed where the event is",
    "remedy": "what to do about it",
    "replay_id": "the bulk replay",
    "require_https": "`egress.require_https`",
    "resolvers": "`egress.resolvers`, or `system`",
    "results": "results of a batch",
    "role": "of `serve`",
    "seconds": "how long",
    "seen": "documents that a change of the store looked at",
    "service": "a part of the router",
    "spans": "spans that were lost",
    "step": "of the shutdown",
    "tasks": "names of a library's tasks",
    "tried": "the number of the try",
    "waiting": "operational events that are not published",
    "where": "the place of an error in our code, without its text",
    "woken": "deliveries that rested",
    "worker": "the number of a worker process",
    "workers": "of `serve`",
    "written": "documents that a change of the store wrote",
}
"""What other lines hold."""

FIELDS: Final = ALWAYS | WIDE | OTHERS
