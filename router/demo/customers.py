"""The demo's invented customers: accounts, their numbers and people, their webhooks, and which events those want.

Values, drawn from the randomness that is given; touches nothing. Which event goes where is decided here once more,
on purpose without the router's own matching, so that the demo can tell when the router is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

FICTIONAL_RANGES: Final = ("+3319900", "+3363998", "+3346571")
"""Numbers that ARCEP keeps for fiction: 01 99 00 xx xx, 06 39 98 xx xx, 04 65 71 xx xx."""
_GEOGRAPHIC: Final = ("+3319900", "+3346571")

_NAMES: Final = (
    "Cabinet Morel", "Agence Horizon", "Garage Bellerive", "Clinique Lilas", "Maison Tilleul", "Hôtel du Lac",
    "Optique Verdier", "Toiture Lenoir", "Étude Savary", "Cave Montagne",
)  # fmt: skip
_PEOPLE: Final = ("Élodie Martin", "Karim Benali", "Sophie Roux", "Yann Le Goff", "Inès Garcia", "Paul Lefèvre")
_CAMPAIGNS: Final = (
    ("Google Ads", "google_ads"), ("Flyer", "offline"), ("Fiche Établissement", "google_business"),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingNumber:
    """A number that callers dial; `number` is E.164, `source` says which advertisement shows it."""

    id: str
    number: str
    label: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    id: str
    name: str
    role: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """A webhook as its customer set it up. `numbers` (E.164) and `user_id` restrict it; None: they do not.

    `written_numbers` is how the customer typed the numbers. `dead`: nothing listens where it points.
    """

    id: str
    name: str
    event_type: str
    numbers: frozenset[str] | None = None
    written_numbers: tuple[str, ...] = ()
    user_id: str | None = None
    paused: bool = False
    dead: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Customer:
    account_id: str
    name: str
    enabled: bool
    numbers: tuple[TrackingNumber, ...]
    users: tuple[User, ...]
    hooks: tuple[Hook, ...]

    def wanting(self, event_type: str, number: str | None, user_id: str | None) -> tuple[Hook, ...]:
        """The webhooks that an event must go to: account on, webhook on, type equal, restriction met."""
        if not self.enabled:
            return ()
        return tuple(
            hook
            for hook in self.hooks
            if not hook.paused
            and hook.event_type == event_type
            and (hook.numbers is None or number in hook.numbers)
            and (hook.user_id is None or hook.user_id == user_id)
        )


# --- how they are made -----------------------------------------------------------------------------


def make_customers(random: Random, count: int, *, first_account: int) -> tuple[Customer, ...]:
    """`count` customers, numbered from `first_account`.

    As far as `count` allows, one is switched off, one has a paused webhook and one a webhook to a dead port.
    """
    # With fewer than four, the first carries what is special and the last is the one that is switched off.
    switched_off = 3 if count > 3 else count - 1 if count > 1 else None
    paused, dead = (2 if count > 3 else 0), (4 if count > 4 else 0)
    return tuple(
        _make_customer(
            random,
            index,
            account_id=str(first_account + index),
            enabled=index != switched_off,
            with_paused=index == paused,
            with_dead=index == dead,
        )
        for index in range(count)
    )


def _make_customer(
    random: Random, index: int, *, account_id: str, enabled: bool, with_paused: bool, with_dead: bool
) -> Customer:
    numbers = tuple(
        TrackingNumber(
            id=f"tn-{account_id}{position}",
            number=fictional_number(random, _GEOGRAPHIC),
            label=label,
            source=source,
        )
        for position, (label, source) in enumerate(_CAMPAIGNS)
    )
    users = tuple(
        User(id=f"u-{account_id}{position}", name=name, role="manager" if position == 0 else "agent")
        for position, name in enumerate(random.sample(_PEOPLE, 3))
    )
    hooks = _hooks(index, account_id, numbers, users)
    if with_paused:
        hooks.append(Hook(id=f"wh_{account_id}_old", name="Old CRM", event_type="call", paused=True))
    if with_dead:
        hooks.append(Hook(id=f"wh_{account_id}_dead", name="Retired server", event_type="cdr", dead=True))
    round_, place = divmod(index, len(_NAMES))
    return Customer(
        account_id=account_id,
        name=_NAMES[place] + (f" {round_ + 1}" if round_ else ""),
        enabled=enabled,
        numbers=numbers,
        users=users,
        hooks=tuple(hooks),
    )


def _hooks(index: int, account_id: str, numbers: Sequence[TrackingNumber], users: Sequence[User]) -> list[Hook]:
    """Three ways in which customers set their webhooks up, in turn."""
    prefix = f"wh_{account_id}_"
    pop = Hook(id=prefix + "pop", name="CRM screen pop", event_type="call")
    journal = Hook(id=prefix + "cdr", name="Call journal", event_type="cdr")
    if index % 3 == 0:
        return [
            pop,
            journal,
            Hook(id=prefix + "chat", name="Team chat", event_type="call"),
            Hook(id=prefix + "user", name="Audit trail", event_type="user"),
        ]
    if index % 3 == 1:
        ads, print_ = numbers[0].number, numbers[1].number
        return [
            Hook(
                id=prefix + "ads",
                name="Google Ads pop",
                event_type="call",
                numbers=frozenset({ads}),
                written_numbers=(as_dialled(ads),),
            ),
            Hook(
                id=prefix + "ads_cdr",
                name="Campaign report",
                event_type="cdr",
                numbers=frozenset({ads, print_}),
                written_numbers=(ads.replace("+", "00"), print_),
            ),
            Hook(id=prefix + "user", name="Team lead watch", event_type="user", user_id=users[0].id),
        ]
    return [
        pop,
        journal,
        Hook(id=prefix + "bi", name="Data warehouse", event_type="cdr"),
        Hook(id=prefix + "user", name="Audit trail", event_type="user"),
    ]


def fictional_number(random: Random, ranges: Sequence[str] = FICTIONAL_RANGES) -> str:
    """A number in E.164 that nobody has."""
    return f"{random.choice(ranges)}{random.randrange(10_000):04}"


def as_dialled(number: str) -> str:
    """A French number as people write it: `+33199001234` is `01 99 00 12 34`."""
    digits = "0" + number.removeprefix("+33")
    return " ".join(digits[start : start + 2] for start in range(0, len(digits), 2))
