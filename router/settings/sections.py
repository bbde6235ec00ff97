"""The sections of the settings, with defaults and bounds; the text under a field is what errors say of it.
Frozen values only; nothing is read from outside here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from router.domain.replay import MAX_PER_SECOND, MIN_PER_SECOND
from router.domain.signing import MAX_OVERLAP
from router.settings.ports import DEFAULT_DENY_PORTS
from router.settings.values import (
    NONE_WORD,
    NUMBER,
    Allow,
    AmqpName,
    AmqpUrl,
    CollectorUrl,
    Country,
    DatabaseName,
    KeyedError,
    MongoUrl,
    NameServer,
    NetworkText,
    Port,
    ProxyUrl,
    PublicUrl,
    TimeZone,
    Token,
)

DAY_SECONDS = 86_400
MAX_STORED_BYTES = 15 * 1024 * 1024
"""A MongoDB document ends at 16 MiB; the event's own fields need room beside its payload."""


class Section(BaseModel):
    """A table of the configuration: frozen, and a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True)


class AmqpSettings(Section):
    """`amqp`: the broker."""

    url: AmqpUrl = SecretStr("amqp://guest:guest@127.0.0.1:5672/")
    """URL of RabbitMQ, amqp:// or amqps:// (TLS), with user, password and virtual host."""
    heartbeat_seconds: Annotated[int, Field(ge=1, le=600), NUMBER] = 20
    """Silence in seconds, 1 to 600, after which the connection counts as dead."""
    connect_timeout_seconds: Annotated[float, Field(gt=0, le=300), NUMBER] = 3.0
    """Seconds for one attempt to connect, more than 0, at most 300."""
    events_exchange: Annotated[AmqpName | None, NONE_WORD] = "webhook-router"
    """Topic exchange that operational events are published to, made if it is missing; `none` switches them off."""


class MongoSettings(Section):
    """`mongo`: the store."""

    url: MongoUrl = SecretStr("mongodb://127.0.0.1:27017")
    """URL of MongoDB, mongodb:// or mongodb+srv://, or the word `embedded` for a local server."""
    database: DatabaseName = "webhook_router"
    """Name of the database, 1 to 63 characters."""
    driver: Literal["motor", "pymongo"] = "motor"
    """Client library, `motor` or `pymongo` (PyMongo Async)."""


class ApiSettings(Section):
    """`api`: where the HTTP API and the console listen."""

    host: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^\S+$")] = "127.0.0.1"
    """Address or name to listen on; 0.0.0.0 or :: for every interface."""
    port: Port = 8080
    """TCP port to listen on, 0 to 65535; 0 takes any free port."""
    probes_port: Annotated[Port | None, NONE_WORD] = None
    """Second TCP port for /livez, /readyz and /metrics alone, also of `--role worker`, 0 to 65535; `none`."""
    admin_token: Annotated[Token | None, NONE_WORD] = None
    """Token with every scope, for first set-up: 8 or more printable ASCII characters, no spaces; `none`."""
    rate_limit_per_second: Annotated[float, Field(ge=1, le=100_000), NUMBER] = 200.0
    """Requests per second, 1 to 100000, of one token and of one client address."""
    rate_limit_burst: Annotated[int, Field(ge=10, le=1_000_000), NUMBER] = 2_000
    """Requests at once, 10 to 1000000, of one token and of one client address."""
    public_url: Annotated[PublicUrl | None, NONE_WORD] = None
    """Where browsers reach the console: http:// or https://, a host, a port if there is one, no path; `none`."""
    trusted_proxies: Annotated[tuple[NetworkText, ...], Field(max_length=100)] = ()
    """Networks of proxies whose X-Forwarded-For counts: `10.0.0.0/8`, `fd00::/8`."""


class ConsoleSettings(Section):
    """`console`: the pages for people."""

    time_zone: TimeZone = "Europe/Paris"
    """Zone of times in the console, from the IANA database: Europe/Paris, America/Martinique, UTC."""


class EgressSettings(Section):
    """`egress`: which addresses webhooks may be sent to."""

    allow: Annotated[tuple[Allow, ...], Field(max_length=1000)] = ()
    """Networks allowed although not public: `10.0.0.0/8`, `10.0.0.5:8443`, `[fd00::/8]:8443`."""
    require_https: bool = True
    """Whether a webhook's URL must be https, `true` or `false`."""
    deny_ports: Annotated[tuple[Port, ...], Field(max_length=65536)] = DEFAULT_DENY_PORTS
    """TCP ports that are never dialled, each 0 to 65535. The list replaces the default."""
    resolvers: Annotated[tuple[NameServer, ...], Field(max_length=10)] = ()
    """Name servers for customers' names, by address, in order: `10.0.0.53`, `[fd00::53]:5353`; none: the system's."""
    proxy_url: Annotated[ProxyUrl | None, NONE_WORD] = None
    """URL of a proxy with CONNECT that makes every connection, http:// or https://, may hold user:password; `none`."""


class SigningSettings(Section):
    """`signing`: how requests are signed."""

    rotation_overlap_seconds: Annotated[int, Field(ge=0, le=int(MAX_OVERLAP.total_seconds())), NUMBER] = DAY_SECONDS
    """Seconds, 0 to 2592000, for which an old secret signs beside the one that a rotation brings."""


Timeout = Annotated[float, Field(ge=0.1, le=300), NUMBER]
Delays = Annotated[tuple[Annotated[float, Field(ge=0, le=DAY_SECONDS), NUMBER], ...], Field(max_length=50)]
MaxAge = Annotated[Annotated[float, Field(gt=0, le=365 * DAY_SECONDS), NUMBER] | None, NONE_WORD]


class ScheduleSettings(Section):
    """How deliveries of one event type are tried. Each type has its own defaults (contract, section 4)."""

    timeout_seconds: Timeout = 10.0
    """Seconds for one whole attempt, connecting included, 0.1 to 300."""
    retry_delays_seconds: Delays = (
        5.0, 30.0, 120.0, 600.0, 1_800.0, 7_200.0, 18_000.0, 36_000.0, 36_000.0,
    )  # fmt: skip
    """Seconds before attempts 2, 3, …: at most 50 waits of 0 to 86400; an empty list means one attempt."""
    max_age_seconds: MaxAge = None
    """Age in seconds after which an event is not sent any more, at most 31536000; `none` for no limit."""


class CallSchedule(ScheduleSettings):
    """`delivery.call`: a screen pop that comes after the call is worse than none."""

    timeout_seconds: Timeout = 5.0
    retry_delays_seconds: Delays = (1.0, 2.0, 4.0, 8.0)
    max_age_seconds: MaxAge = 30.0


class DeliverySettings(Section):
    """`delivery`: attempts, retries and how much goes on at once."""

    call: CallSchedule = CallSchedule()
    """Deliveries of `call` events."""
    cdr: ScheduleSettings = ScheduleSettings()
    """Deliveries of `cdr` events."""
    user: ScheduleSettings = ScheduleSettings()
    """Deliveries of `user` events."""
    connect_timeout_seconds: Annotated[float, Field(gt=0, le=60), NUMBER] = 3.0
    """Seconds to reach a customer's server, more than 0, at most 60; part of `timeout_seconds`."""
    suspend_after_seconds: Annotated[float, Field(ge=1, le=365 * DAY_SECONDS), NUMBER] = 5.0 * DAY_SECONDS
    """Seconds of nothing but failures, 1 to 31536000, after which a webhook is suspended."""
    circuit_after_seconds: Annotated[float, Field(ge=1, le=DAY_SECONDS), NUMBER] = 30.0
    """Seconds of nothing but failures, 1 to 86400, after which a webhook is only probed until it works again."""
    max_in_flight: Annotated[int, Field(ge=1, le=10_000), NUMBER] = 512
    """Attempts at once over all webhooks, 1 to 10000; each takes a file descriptor."""
    max_in_flight_per_webhook: Annotated[int, Field(ge=1, le=1_000), NUMBER] = 16
    """Attempts at once to one webhook, 1 to 1000."""
    max_queued_per_webhook: Annotated[int, Field(ge=1, le=100_000), NUMBER] = 200
    """Deliveries of one webhook held in memory, 1 to 100000; the rest waits in MongoDB."""


class LimitsSettings(Section):
    """`limits`: what a message may be before it becomes a dead letter."""

    max_message_bytes: Annotated[int, Field(ge=1_024, le=MAX_STORED_BYTES), NUMBER] = 1_048_576
    """Largest message in bytes, as it comes from the broker, 1024 to 15728640."""
    max_inflated_bytes: Annotated[int, Field(ge=1_024, le=MAX_STORED_BYTES), NUMBER] = 4_194_304
    """Largest payload in bytes after decompression and decoding, 1024 to 15728640."""
    max_depth: Annotated[int, Field(ge=1, le=1_000), NUMBER] = 64
    """Deepest nesting of a JSON payload, 1 to 1000 levels."""


class NumbersSettings(Section):
    """`numbers`: how phone numbers are read."""

    default_country: Country = "FR"
    """Country of numbers written without a country code, ISO 3166 alpha-2."""


class RetentionSettings(Section):
    """`retention`: how long things are kept."""

    payload_days: Annotated[int, Field(ge=1, le=3_650), NUMBER] = 30
    """Days, 1 to 3650, for which payloads are kept; not more than `log_days`."""
    log_days: Annotated[int, Field(ge=1, le=3_650), NUMBER] = 90
    """Days, 1 to 3650, for which the delivery log is kept."""
    audit_days: Annotated[int, Field(ge=1, le=3_650), NUMBER] = 365
    """Days, 1 to 3650, for which the audit trail is kept."""

    @model_validator(mode="after")
    def _payload_dies_first(self) -> Self:
        if self.payload_days > self.log_days:
            raise KeyedError(
                ("payload_days",),
                self.payload_days,
                f"is more than retention.log_days ({self.log_days}): a payload cannot outlive its log entry",
            )
        return self


def expand_user(value: object) -> object:
    """`~` as the home folder, which no shell expands in a file or in a unit's environment."""
    if not isinstance(value, str | Path) or not str(value):
        return value
    try:
        return Path(value).expanduser()
    except RuntimeError as exc:  # a user without a home
        raise ValueError("begins with '~', but there is no home folder") from exc


DataDir = Annotated[Path, BeforeValidator(expand_user)]


class ReplaySettings(Section):
    """`replay`: how fast what failed is sent again."""

    per_second: Annotated[float, Field(ge=MIN_PER_SECOND, le=MAX_PER_SECOND), NUMBER] = 20.0
    """Deliveries a second that a bulk replay makes due where it does not say, 0.1 to 100."""


class SecretsSettings(Section):
    """`secrets`: how the secrets of webhooks are stored."""

    key_file: Annotated[Path | None, BeforeValidator(expand_user), NONE_WORD] = None
    """File with the keys that seal secrets in the store, one line `<key id>:<base64 of 32 bytes>` each; `none`."""


LogFormat = Literal["console", "json"]
LogLevel = Literal["debug", "info", "warning", "error", "critical"]


def _lower(value: object) -> object:
    return value.strip().lower() if isinstance(value, str) else value


def _auto_is_none(value: object) -> object:
    return None if value == "auto" else value


class LogSettings(Section):
    """`log`: what is written to stderr."""

    format: Annotated[LogFormat | None, BeforeValidator(_auto_is_none), BeforeValidator(_lower)] = None
    """`console` for people, `json` for machines, `auto`: console on a terminal, else json."""
    level: Annotated[LogLevel, BeforeValidator(_lower)] = "info"
    """Least level that is written: `debug`, `info`, `warning`, `error` or `critical`."""
    hash_key: Annotated[Token | None, NONE_WORD] = None
    """Secret of the hashes that stand for numbers and URLs: 8 or more printable ASCII characters; `none`: drawn."""
    max_lines_per_second: Annotated[int, Field(ge=1, le=1_000_000), NUMBER] = 500
    """Lines about events, and lines about attempts, in one second, 1 to 1000000; the others are counted."""


class TracingSettings(Section):
    """`tracing`: what goes to an OpenTelemetry collector."""

    endpoint: Annotated[CollectorUrl | None, NONE_WORD] = None
    """URL of a collector for OTLP over HTTP with its path, as http://127.0.0.1:4318/v1/traces; `none`: no tracing."""
    sample_ratio: Annotated[float, Field(ge=0, le=1), NUMBER] = 1.0
    """Share, 0 to 1, of the events that are traced, of those whose message brings no decision of its own."""
