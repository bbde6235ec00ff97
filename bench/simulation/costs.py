"""Costs, from `bench/costs.toml`: measured, computed or assumed, as the file says. Reads that file."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

FILE: Final = Path(__file__).parents[1] / "costs.toml"
MICROSECOND: Final = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerCosts:
    cpu_us_per_event_and_delivery: float
    share_of_event: float
    idle_mib: float
    idle_cpu_share: float
    kib_per_held_delivery: float

    @property
    def event_seconds(self) -> float:
        return self.cpu_us_per_event_and_delivery * self.share_of_event * MICROSECOND

    @property
    def delivery_seconds(self) -> float:
        return self.cpu_us_per_event_and_delivery * (1 - self.share_of_event) * MICROSECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerCosts:
    messages_per_second_per_queue: float
    latency_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreCosts:
    """Microseconds of one shard, of which each does one thing at a time."""

    insert_event_us: float
    insert_delivery_us: float
    update_us: float
    find_us: float
    delete_us: float
    commit_ms: float

    def scaled(self, factor: float) -> StoreCosts:
        """The store that takes `factor` times as long for each document. What is asked once a second, whatever the
        traffic, takes as long as before."""
        return replace(
            self,
            insert_event_us=self.insert_event_us * factor,
            insert_delivery_us=self.insert_delivery_us * factor,
            update_us=self.update_us * factor,
            delete_us=self.delete_us * factor,
        )

    def seconds_now(self, attempts: float) -> float:
        """Of an event with one delivery: both inserts and the results of its attempts."""
        return (self.insert_event_us + self.insert_delivery_us + attempts * self.update_us) * MICROSECOND

    @property
    def seconds_later(self) -> float:
        """Of the same, when retention ends: the payload and the answers are taken out, then both documents."""
        return 2 * (self.update_us + self.delete_us) * MICROSECOND


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentCosts:
    payload_bytes: int
    event_bytes: int
    delivery_bytes: int
    index_bytes_per_event: int
    index_bytes_per_delivery: int
    compression: float

    @property
    def bytes_on_disk(self) -> float:
        """Of an event with one delivery, on one member."""
        documents = self.event_bytes + self.delivery_bytes
        return (documents + self.index_bytes_per_event + self.index_bytes_per_delivery) * self.compression


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    worker: WorkerCosts
    broker: BrokerCosts
    stores: dict[str, StoreCosts]
    documents: DocumentCosts
    overhead_bytes: int
    """On the wire for each delivery, beside payloads and documents: headers, acknowledgements, replies, TLS."""
    measured: dict[str, float]
    """What `make bench` printed, by the names of `bench/simulation/validation.py`."""
    digest: str
    """Another one for other figures."""

    def slowed(self, factor: float) -> Costs:
        """Workers and queues that take `factor` times as long for each event."""
        return replace(
            self,
            worker=replace(
                self.worker, cpu_us_per_event_and_delivery=self.worker.cpu_us_per_event_and_delivery * factor
            ),
            broker=replace(
                self.broker, messages_per_second_per_queue=self.broker.messages_per_second_per_queue / factor
            ),
        )


def load_costs(path: Path = FILE) -> Costs:
    tables = tomllib.loads(path.read_text(encoding="utf-8"))
    canonical = json.dumps(_figures(tables), sort_keys=True)
    return Costs(
        worker=WorkerCosts(**_figures(tables["worker"])),
        broker=BrokerCosts(**_figures(tables["broker"])),
        stores={name: StoreCosts(**_figures(table)) for name, table in tables["store"].items()},
        documents=DocumentCosts(**_figures(tables["documents"])),
        overhead_bytes=tables["network"]["overhead_bytes"],
        measured=_figures(tables["measured"]),
        digest=sha256(canonical.encode()).hexdigest()[:12],
    )


def _figures(table: dict[str, Any]) -> dict[str, Any]:
    """A table without the texts that say where its figures are from."""
    return {
        name: _figures(value) if isinstance(value, dict) else value for name, value in table.items() if name != "from"
    }
