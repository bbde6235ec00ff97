"""What the doctor makes of what it sees. The looking itself: tests/e2e/test_doctor.py."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from router.adapters.mongo.inspection import StoreSeen, peers_of
from router.adapters.reach import Handshake
from router.bootstrap.doctor import broker, configuration, egress, network, process, store
from router.bootstrap.doctor.rounds import Group, make_rounds
from router.domain.diagnosis import Finding, Level, Ward, worst
from router.domain.egress import EgressPolicy, parse_allow_rule
from router.domain.egress_classes import Trial
from router.domain.errors import DependencyUnavailable
from router.domain.schema import EMPTY_STORE, FIRST_RELEASE, KNOWN, Schema
from router.domain.topology import (
    RETURNED,
    AdminView,
    AppliedPolicy,
    Binding,
    BrokerSeen,
    Line,
    Presence,
    Queue,
    Seen,
    Wanted,
)
from router.ports import SecretCounts
from router.settings import load_settings

OK, WARN, FAIL = Level.OK, Level.WARN, Level.FAIL
HERE = Seen(presence=Presence.PRESENT)
AWAY = Seen(presence=Presence.MISSING)


def levels(findings: Iterable[Finding]) -> list[Level]:
    found = list(findings)
    assert all(bool(each.remedy) is (each.level is not OK) for each in found), "what is not ok has a remedy"
    return [each.level for each in found]


@pytest.mark.parametrize(
    ("found", "verdict"), [([], OK), ([OK], OK), ([OK, WARN], WARN), ([WARN, FAIL, OK], FAIL), ([FAIL], FAIL)]
)
def test_the_worst_counts(found: list[Level], verdict: Level) -> None:
    assert worst(Finding(group="g", name="n", level=level, seen="") for level in found) is verdict


# --- rounds -----------------------------------------------------------------------------------------


async def test_a_group_that_does_not_answer_or_breaks_holds_up_no_other() -> None:
    async def hangs() -> list[Finding]:
        await asyncio.Event().wait()
        return []

    async def breaks() -> list[Finding]:
        raise ZeroDivisionError

    async def is_away() -> list[Finding]:
        raise DependencyUnavailable("it is away")

    async def is_well() -> list[Finding]:
        return [Ward("well").ok("it", "is")]

    looks = {"hangs": hangs, "breaks": breaks, "away": is_away, "well": is_well}
    found = await make_rounds([Group(name=name, look=look) for name, look in looks.items()], group_seconds=0.05)

    assert [(each.group, each.level) for each in found] == [
        ("hangs", FAIL),
        ("breaks", FAIL),
        ("away", FAIL),
        ("well", OK),
    ]
    assert "no answer within" in found[0].seen
    assert "ZeroDivisionError" in found[1].seen
    assert found[2].seen == "it is away"


# --- broker -----------------------------------------------------------------------------------------


def broker_seen(version: str = "4.2.9", product: str = "RabbitMQ", **queues: Seen) -> BrokerSeen:
    return BrokerSeen(
        product=product, version=version, cluster="c", exchanges={RETURNED: HERE}, queues={RETURNED: HERE, **queues}
    )


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("3.9.29", FAIL),
        ("3.10.8", OK),
        ("3.13.7", OK),
        ("4.2.9", OK),
        ("4.3.5", OK),
        ("4.4.0", WARN),
        ("5.0", WARN),
        ("", WARN),
    ],
)
def test_the_version_of_the_broker(version: str, level: Level) -> None:
    assert levels([broker.judge_version(broker_seen(version))]) == [level]


def test_a_broker_that_is_no_rabbitmq_is_told_apart() -> None:
    assert broker.judge_version(broker_seen(product="LavinMQ")).level is WARN


@pytest.mark.parametrize(
    ("queues", "level"),
    [
        ({"a": replace(HERE, consumers=1), "b": replace(HERE, consumers=2)}, OK),
        ({"a": replace(HERE, consumers=1), "b": HERE}, WARN),
        ({"a": AWAY}, WARN),
    ],
)
def test_a_queue_without_a_consumer_is_a_warning(queues: dict[str, Seen], level: Level) -> None:
    assert levels([broker.judge_consumers(queues)]) == [level]


def line(kind: str, presence: Presence, detail: str = "") -> Line:
    return Line(kind=kind, name="q", presence=presence, detail=detail)


@pytest.mark.parametrize(
    ("presence", "why", "level"),
    [
        (Presence.PRESENT, "", OK),
        (Presence.MISSING, "", WARN),
        (Presence.UNSEEN, "nobody tells", WARN),
        (Presence.DIFFERENT, "", FAIL),
    ],
)
@pytest.mark.parametrize("kind", ["exchange", "queue", "binding", "policy"])
def test_each_kind_of_the_topology(kind: str, presence: Presence, why: str, level: Level) -> None:
    others = [line(each, Presence.PRESENT) for each in ("exchange", "queue", "binding", "policy") if each != kind]
    found = list(broker.judge_topology([*others, line(kind, presence)], why))

    assert sorted(levels(found)) == sorted([OK, OK, OK, level])
    assert why in " ".join(each.seen for each in found)


WANTED = Wanted(exchanges=(), queues=(Queue(name="q"),), bindings=())


def admin(dead_letter_exchange: str | None, *, bound: bool, by_argument: bool = False) -> AdminView:
    set_ = {} if dead_letter_exchange is None else {"dead-letter-exchange": dead_letter_exchange}
    return AdminView(
        origin="test",
        arguments={"q": {"x-dead-letter-exchange": dead_letter_exchange} if by_argument else {}},
        policies={"q": AppliedPolicy(name="p", definition={} if by_argument else set_)},
        bindings=(Binding(exchange="dlx", destination="dlq", key=""),) if bound else (),
    )


@pytest.mark.parametrize(
    ("view", "level"),
    [
        (admin("dlx", bound=True), OK),
        (admin("dlx", bound=True, by_argument=True), OK),
        (admin("dlx", bound=False), FAIL),
        (admin("elsewhere", bound=True), FAIL),
        (admin(None, bound=True), WARN),
        (None, WARN),
    ],
)
def test_dead_letters_must_lead_to_a_queue(view: AdminView | None, level: Level) -> None:
    assert levels(broker.judge_dead_letters(WANTED, broker_seen(q=HERE), view, "nobody tells")) == [level]


def test_messages_that_were_returned_too_often_are_told() -> None:
    seen = broker_seen(q=HERE)
    seen = replace(seen, queues={**seen.queues, RETURNED: replace(HERE, messages=3)})

    found = list(broker.judge_dead_letters(WANTED, seen, admin("dlx", bound=True), ""))

    assert levels(found) == [OK, WARN]
    assert "3 message" in found[1].seen


def test_a_queue_that_is_taken_as_it_is_should_survive_its_broker() -> None:
    view = replace(admin(None, bound=False), arguments={"a": {"x-queue-type": "quorum"}, "b": {}})

    assert levels([broker.judge_arguments(name, view) for name in ("a", "b")]) == [OK, WARN]
    assert levels([broker.judge_arguments("a", None)]) == [WARN]


# --- store ------------------------------------------------------------------------------------------

THREE = StoreSeen(
    version="8.0.17",
    is_embedded=False,
    is_sharded=False,
    is_writable=True,
    replica_set="rs0",
    members=3,
    arbiters=0,
    healthy=3,
    majority=2,
)


@pytest.mark.parametrize(
    ("seen", "version", "topology", "write_concern"),
    [
        (THREE, OK, OK, OK),
        (replace(THREE, version="4.2.1"), FAIL, OK, OK),
        (replace(THREE, version="6.0.3"), WARN, OK, OK),
        (replace(THREE, is_embedded=True), WARN, OK, OK),
        (replace(THREE, members=1, healthy=1, majority=1), OK, WARN, OK),
        (replace(THREE, is_writable=False), OK, FAIL, OK),
        (replace(THREE, healthy=2), OK, OK, WARN),
        (replace(THREE, healthy=1), OK, OK, FAIL),
        (replace(THREE, healthy=None, majority=None), OK, OK, OK),
        (replace(THREE, healthy=None, majority=None, members=2, arbiters=1), OK, WARN, WARN),
        (replace(THREE, replica_set="", members=0, healthy=None, majority=None), OK, WARN, OK),
        (replace(THREE, replica_set="", members=0, healthy=None, majority=None, is_sharded=True), OK, OK, OK),
    ],
)
def test_the_shape_of_the_store(seen: StoreSeen, version: Level, topology: Level, write_concern: Level) -> None:
    found = [store.judge_version(seen), store.judge_topology(seen), store.judge_write_concern(seen)]
    assert levels(found) == [version, topology, write_concern]


@pytest.mark.parametrize(
    ("seconds", "level"),
    [(0, OK), (5, OK), (-5, OK), (5.1, WARN), (-5.1, WARN), (299, WARN), (300, FAIL), (-300, FAIL)],
)
def test_the_clock_against_the_store(seconds: float, level: Level) -> None:
    finding = store.judge_clock(timedelta(seconds=seconds))

    assert levels([finding]) == [level]
    assert ("ahead" if seconds > 0 else "behind") in finding.seen


@pytest.mark.parametrize(
    ("schema", "level", "said"),
    [
        (None, OK, "none on record"),
        (EMPTY_STORE, OK, str(KNOWN)),
        (FIRST_RELEASE, WARN, "search-keys"),
        (Schema(done=frozenset({2, 3}), needs=1), WARN, "number-keys-gone"),
        (Schema(done=frozenset({KNOWN + 1}), needs=KNOWN + 1), FAIL, f"knows {KNOWN + 1}"),
    ],
)
def test_the_schema(schema: Schema | None, level: Level, said: str) -> None:
    finding = store.judge_schema(schema)

    assert levels([finding]) == [level]
    assert said in finding.seen


@pytest.mark.parametrize(
    ("presences", "expected"),
    [
        ([Presence.PRESENT], [OK]),
        ([Presence.PRESENT, Presence.EXTRA], [OK]),
        ([Presence.MISSING, Presence.PRESENT], [WARN]),
        ([Presence.DIFFERENT, Presence.PRESENT], [FAIL]),
        ([Presence.DIFFERENT, Presence.MISSING], [FAIL, WARN]),
    ],
)
def test_indexes(presences: list[Presence], expected: list[Level]) -> None:
    lines = [Line(kind="index", name=f"c.i{n}", presence=presence) for n, presence in enumerate(presences)]
    assert levels(store.judge_indexes(lines)) == expected


@pytest.mark.parametrize(
    ("keys", "missing", "counts", "level"),
    [
        ((), [], SecretCounts(by_key={}, plain=4, unopened=0), OK),  # the key ring itself has its warning
        (("k1",), [], SecretCounts(by_key={"k1": 4}, plain=0, unopened=0), OK),
        (("k1",), [], SecretCounts(by_key={"k1": 4}, plain=1, unopened=0), WARN),
        (("k2", "k1"), [], SecretCounts(by_key={"k1": 4}, plain=0, unopened=0), WARN),
        (("k1",), ["k0"], SecretCounts(by_key={"k0": 1}, plain=0, unopened=1), FAIL),
        (("k1",), ["k0"], SecretCounts(by_key={"k1": 1}, plain=0, unopened=0), OK),
        (("k1",), [], SecretCounts(by_key={"k1": 4}, plain=0, unopened=2), FAIL),
    ],
)
def test_keys_on_record(keys: tuple[str, ...], missing: list[str], counts: SecretCounts, level: Level) -> None:
    assert levels([store.judge_keys(keys, missing, counts)]) == [level]


@pytest.mark.parametrize(("content", "level"), [("k1:" + "A" * 43 + "=", OK), ("k1:half", FAIL), ("", FAIL)])
def test_a_key_file_that_is_wrong_or_half_written_is_a_failure(content: str, level: Level, tmp_path: Path) -> None:
    path = tmp_path / "keys"
    path.write_text(content, encoding="utf-8")
    path.chmod(0o400)
    settings = load_settings(environ={}, overrides={"secrets.key_file": str(path)})

    assert levels([store.look_at_key_ring(settings)[1]]) == [level]


def test_without_a_key_file_the_key_ring_is_a_warning() -> None:
    assert store.look_at_key_ring(load_settings(environ={}))[1].level is WARN


# --- network ----------------------------------------------------------------------------------------

NOW = datetime(2026, 11, 24, tzinfo=UTC)
PEER = network.Peer(name="RabbitMQ", setting="amqp.url", host="rabbit.example.com", port=5671, tls=True)


@pytest.mark.parametrize(
    ("days", "verifies", "level"),
    [(90, True, OK), (21, True, OK), (20, True, WARN), (-1, True, WARN), (90, False, WARN)],
)
def test_a_certificate_that_ends_soon_is_a_warning(days: int, verifies: bool, level: Level) -> None:
    hands = Handshake(version="TLSv1.3", expires=NOW + timedelta(days=days))
    assert levels([network.judge_handshake("TLS", hands, replace(PEER, verifies=verifies), NOW)]) == [level]


@pytest.mark.parametrize(
    ("url", "host", "port", "tls", "verifies"),
    [
        ("amqp://u:p@rabbit.example.com/", "rabbit.example.com", 5672, False, True),
        ("amqps://u:p@rabbit.example.com/v", "rabbit.example.com", 5671, True, True),
        ("amqps://u:p@[2001:db8::1]:7000/?no_verify_ssl=1", "2001:db8::1", 7000, True, False),
    ],
)
def test_where_the_broker_is(url: str, host: str, port: int, tls: bool, verifies: bool) -> None:
    (peer,) = network.broker_peers(load_settings(environ={"ROUTER_AMQP__URL": url}))
    assert (peer.host, peer.port, peer.tls, peer.verifies) == (host, port, tls, verifies)


def test_where_the_store_is() -> None:
    peers = peers_of("mongodb://u:p@a.example.com,b.example.com:27018/?tls=true&replicaSet=rs0&tlsInsecure=true")
    assert peers.hosts == (("a.example.com", 27017), ("b.example.com", 27018))
    assert (peers.tls, peers.verifies) == (True, False)


# --- egress -----------------------------------------------------------------------------------------

RULED = EgressPolicy(allow=(parse_allow_rule("10.0.0.0/8"),), deny_ports=frozenset({22}))


@pytest.mark.parametrize(
    ("trial", "policy", "level"),
    [
        (Trial(name="private networks", refused=1, open=("10.0.0.1",)), RULED, WARN),
        (Trial(name="this host", refused=1, open=("127.0.0.1",)), EgressPolicy(), FAIL),
        (
            Trial(name="plain http", refused=0, open=("http://crm.example.com/",)),
            EgressPolicy(require_https=False),
            WARN,
        ),
        (Trial(name="plain http", refused=0, open=("http://crm.example.com/",)), EgressPolicy(), FAIL),
        (Trial(name="ports", refused=1, open=("25",)), RULED, WARN),
        (Trial(name="ports", refused=1, open=("22",)), EgressPolicy(deny_ports=frozenset({22})), FAIL),
        (Trial(name="local names", refused=1, open=("https://intranet/",)), RULED, WARN),
        (Trial(name="numbers as hosts", refused=1, open=("https://127.1/",)), EgressPolicy(), FAIL),
        (Trial(name="numbers as hosts", refused=1, open=("https://127.1/",)), RULED, FAIL),
    ],
)
def test_what_is_open_by_a_setting_is_told_from_what_is_open_by_a_bug(
    trial: Trial, policy: EgressPolicy, level: Level
) -> None:
    assert levels(egress.judge([trial], policy)) == [OK, level]


def test_a_policy_that_refuses_everybody_and_one_that_lets_us_in_are_failures() -> None:
    assert levels([egress.judge_public([]), egress.judge_public(["1.1.1.1"])]) == [OK, FAIL]
    assert levels([egress.judge_own_socket(reached) for reached in (0, None, 1)]) == [OK, WARN, FAIL]


# --- process and configuration ----------------------------------------------------------------------


@pytest.mark.parametrize(("limit", "level"), [(561, FAIL), (562, WARN), (1073, WARN), (1074, OK)])
def test_descriptors_for_512_requests_at_once(limit: int, level: Level) -> None:
    assert levels([process.judge_descriptors(limit, "of this shell", 512)]) == [level]


@pytest.mark.parametrize(
    ("status", "answer", "level"),
    [
        (200, "{}", OK),
        (503, '{"status":"not_ready","checks":[{"name":"store","ok":false},{"name":"x","ok":true}]}', FAIL),
        (0, "Connection refused", WARN),
        (404, "", WARN),
    ],
)
def test_the_router_that_runs(status: int, answer: str, level: Level) -> None:
    finding = process.judge_router(status, answer, where="127.0.0.1 port 8080")

    assert levels([finding]) == [level]
    assert status != 503 or finding.seen.endswith("store")


UNIT = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "UnitFileState": "enabled",
    "Restart": "on-failure",
    "WatchdogUSec": "30s",
}


@pytest.mark.parametrize(
    ("change", "level"),
    [({}, OK), ({"Restart": "no"}, WARN), ({"WatchdogUSec": "0"}, WARN), ({"UnitFileState": "disabled"}, WARN)],
)
def test_the_unit_of_systemd(change: dict[str, str], level: Level) -> None:
    assert levels([process.judge_unit(UNIT | change)]) == [level]


@pytest.mark.parametrize(
    ("mode", "text", "level"),
    [
        (0o644, "[api]\nport = 81", OK),
        (0o600, '[amqp]\nurl = "amqp://u:hush@h/"', OK),
        (0o644, '[amqp]\nurl = "amqp://u:hush@h/"', WARN),
        (0o666, "[api]\nport = 81", WARN),
    ],
)
async def test_who_can_read_and_write_the_file(mode: int, text: str, level: Level, tmp_path: Path) -> None:
    path = tmp_path / "router.toml"
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)

    found = await configuration.look(load_settings(config=path, environ={}))

    assert levels(found) == [OK, level]
    assert "hush" not in str(found)


async def test_an_admin_token_is_for_the_first_set_up() -> None:
    found = await configuration.look(load_settings(environ={"ROUTER_API__ADMIN_TOKEN": "hush-hush-hush"}))

    assert [each.name for each in found if each.level is WARN] == ["admin token"]
    assert "hush" not in str(found)
