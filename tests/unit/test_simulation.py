"""The simulation: nothing is lost whatever happens, the same seed gives the same figures, and each knob does what it is
for. The runs take virtual time."""

from __future__ import annotations

from dataclasses import asdict, replace
from random import Random
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from bench.simulation import tables
from bench.simulation.costs import load_costs
from bench.simulation.customers import Kind, cumulative_weights, make_customers
from bench.simulation.scenario import Outage, Report, Scenario, Trouble, run
from bench.simulation.sizes import measure
from bench.simulation.store import Shard
from router.domain.lease import LEASE

COSTS = load_costs()


def simulate(*, store: str = "mongod", cpu: float = 1.0, store_slower: float = 1.0, **changes: Any) -> Report:
    costs = COSTS.slowed(cpu)
    chosen = COSTS.stores[store].scaled(store_slower)
    usual: dict[str, Any] = {"rate": 50.0, "seconds": 20.0, "webhooks": 50, "seed": 3}
    return run(Scenario(costs=costs, store=chosen, **usual | changes))


def conserved(report: Report) -> bool:
    """Each delivery that was published is in exactly one state."""
    return report.lost == 0 and report.published == report.stored + report.at_broker and (
        report.stored == report.delivered + report.failed + report.pending
    )  # fmt: skip


def trouble(kind: Trouble, at: float, seconds: float) -> Outage:
    return Outage(trouble=kind, at=at, seconds=seconds)


outages = st.lists(st.builds(trouble, st.sampled_from(Trouble), st.floats(0.5, 15.0), st.floats(0.5, 10.0)), max_size=4)


# What fails says enough: making it smaller would take minutes.
@settings(max_examples=12, deadline=None, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(
    seed=st.integers(0, 10_000),
    workers=st.integers(2, 4),
    shards=st.integers(1, 3),
    queues=st.integers(1, 3),
    bad_share=st.sampled_from([0.0, 0.3]),
    outages=outages,
)
def test_nothing_is_lost_whatever_happens(**knobs: Any) -> None:
    assert conserved(simulate(rate=20.0, seconds=15.0, drain_seconds=20.0, warm_up_seconds=0.0, **knobs))


def test_the_same_seed_gives_the_same_figures() -> None:
    troubles = [trouble(Trouble.WORKER, 5, 3), trouble(Trouble.STORE, 10, 5)]

    first, second, other = (
        asdict(simulate(seed=seed, bad_share=0.2, noisy_share=0.3, drain_seconds=30, outages=troubles))
        for seed in (7, 7, 8)
    )

    assert first == second
    assert first != other


def test_more_workers_help_where_the_core_is_what_is_full() -> None:
    one, two = (simulate(workers=workers, rate=24.0, cpu=100.0, drain_seconds=1.0) for workers in (1, 2))

    assert one.cpu > 0.95
    assert two.cpu < 0.75
    assert two.wait(95) < one.wait(95) / 10


def test_more_workers_do_not_help_where_the_store_is_what_is_full() -> None:
    one, four = (
        [
            simulate(workers=workers, store="embedded", store_slower=30.0, drain_seconds=1.0, seed=seed)
            for seed in range(4)
        ]
        for workers in (1, 4)
    )

    assert all(each.store > 0.95 for each in one)
    assert sum(each.stored for each in four) < 1.1 * sum(each.stored for each in one)
    assert all(each.wait(95) > 1 for each in four)


def test_more_shards_help_where_the_store_is_what_is_full() -> None:
    one, two = (simulate(shards=shards, store="embedded", store_slower=18.0, drain_seconds=1.0) for shards in (1, 2))

    assert one.store > 0.95
    assert two.store < 0.75
    assert two.wait(95) < one.wait(95) / 4


def test_what_a_killed_worker_held_is_claimed_when_its_leases_end() -> None:
    report = simulate(workers=3, outages=[trouble(Trouble.WORKER, 10, 5)], answer_seconds=0.5)

    assert report.counts.expired > 0
    # The others look once a second; the clock is that of the store.
    assert report.counts.longest_orphan <= 1.5
    assert report.drained_after is not None
    assert report.drained_after <= LEASE.total_seconds() + 5


def test_what_was_in_flight_of_a_killed_worker_may_come_twice_and_nothing_else() -> None:
    killed, calm = (simulate(answer_seconds=1.0, outages=each) for each in ([trouble(Trouble.WORKER, 10, 5)], []))

    assert 0 < killed.doubled <= killed.counts.expired
    assert calm.doubled == 0


def test_a_store_that_fails_over_delays_and_doubles_nothing() -> None:
    report = simulate(workers=3, outages=[trouble(Trouble.STORE, 8, 10)])

    assert conserved(report)
    assert report.doubled == 0
    assert 5 < report.wait(99) < 15


def test_a_lost_broker_node_delays_by_its_absence() -> None:
    report = simulate(workers=2, outages=[trouble(Trouble.BROKER, 8, 4)])

    assert conserved(report)
    assert 2 < report.wait(99) < 5


def test_a_tenant_with_half_of_the_traffic_does_not_delay_the_others() -> None:
    even, noisy = (
        simulate(workers=1, rate=60.0, answer_seconds=0.8, answer_spread=0.1, noisy_share=share, drain_seconds=1.0)
        for share in (0.0, 0.5)
    )

    assert noisy.most_pending > 2 * even.most_pending, "it did not overflow"
    assert noisy.wait(95) < even.wait(95) * 1.5


def test_bad_customers_do_not_delay_the_others() -> None:
    healthy, half_bad = (
        simulate(workers=2, rate=40.0, bad_share=share, seconds=60.0, warm_up_seconds=40.0, drain_seconds=1.0)
        for share in (0.0, 0.5)
    )

    assert half_bad.wait(95) < healthy.wait(95) * 1.5
    assert half_bad.pending > 0


def test_after_an_outage_of_the_customers_all_is_delivered() -> None:
    report = simulate(workers=2, outages=[trouble(Trouble.CUSTOMERS, 5, 60)], drain_seconds=900.0)

    assert report.delivered == report.published
    assert report.most_pending > 100
    assert report.doubled == 0


def test_the_broker_holds_what_a_burst_brings_beyond_the_store() -> None:
    report = simulate(store="embedded", store_slower=8.0, rate=15.0, outages=[trouble(Trouble.BURST, 5, 10)])

    assert conserved(report)
    assert report.most_at_broker > 100
    assert report.delivered == report.published


# --- parts ------------------------------------------------------------------------------------------


def test_a_shard_does_one_thing_at_a_time() -> None:
    shard = Shard()
    assert [shard.serve(2.0, now=10.0), shard.serve(1.0, now=10.5), shard.serve(1.0, now=20.0)] == [12.0, 13.0, 21.0]


def test_traffic_is_skewed_as_asked() -> None:
    even = cumulative_weights(4, zipf=0.0, noisy_share=0.0)
    noisy = cumulative_weights(4, zipf=1.0, noisy_share=0.5)
    assert even == [1, 2, 3, 4]
    assert noisy[0] / noisy[-1] == pytest.approx(0.5)


def test_as_many_customers_are_bad_as_asked() -> None:
    customers = make_customers(100, bad_share=0.3, median_seconds=0.1, spread=0.5, random=Random(1))
    assert sum(customer.kind is not Kind.HEALTHY for customer in customers) == 30


# --- costs and the page -----------------------------------------------------------------------------


def test_sizes_of_documents_are_those_of_the_documents() -> None:
    measured, stated = asdict(measure()), asdict(COSTS.documents)
    assert {name: stated[name] for name in stated if name in measured} == {
        name: measured[name] for name in stated if name in measured
    }


def test_the_page_has_the_tables_of_these_costs() -> None:
    page = tables.PAGE.read_text(encoding="utf-8")
    again = "run: python -m bench.simulation --table --write"
    assert tables.between(page, "sizes") == tables.size_table(COSTS), again
    assert tables.between(page, "stamp") == tables.stamp(COSTS), again


def test_what_was_computed_for_a_hundred_a_second_holds_when_it_is_tried() -> None:
    sizing = tables.sizes(COSTS, "mongod")[0]
    report = run(replace(tables.trial(COSTS, "mongod", sizing, sizing.workers), seconds=12.0))

    assert conserved(report)
    assert report.wait(95) <= tables.TARGET_SECONDS
    assert report.cpu <= tables.MOST_BUSY
