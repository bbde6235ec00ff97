"""The API does what its OpenAPI document says, whatever is sent: an independent program reads the document, invents
requests that it allows and forbids, and looks at every answer.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import sys
from pathlib import Path

import pytest

from tests.support import samples
from tests.support.api import TOKEN, Surroundings
from tests.support.stored import StoredThings

SCHEMATHESIS = Path(sys.executable).with_name("st")
CONFIGURATION = Path(__file__).with_name("schemathesis.toml")
EXAMPLES = 40
"""Invented requests for each operation, beside those that go through every bound: some ten seconds in all."""
UNSAID = "positive_data_acceptance"
"""The one check that is left out: a document cannot say that a cursor comes from an earlier page, which restriction
goes with which event type, or where a URL may lead."""


@pytest.fixture
def _things(stored: StoredThings) -> None:
    """Something behind every kind of id."""
    stored.add_webhook(samples.webhook())
    for number in range(3):
        event = samples.event(f"evt-{number}", matched=["wh_crm"], call_id="call-1", user_id="u-17")
        stored.add_event(event)
        stored.add_delivery(samples.delivery(event), event.key, ["22118993633"])
    stored.add_replay(samples.replay())
    for number in range(2):
        stored.add_dead_letter(samples.dead_letter(f"dl_{number}"))


@pytest.mark.slow
@pytest.mark.usefixtures("_things")
async def test_every_route_keeps_to_the_document(surroundings: Surroundings, tmp_path: Path) -> None:
    surroundings.randomness = secrets.token_bytes
    async with surroundings.serving() as api:
        said = await _try_out(api.base, "examples,coverage,fuzzing", tmp_path)
        # What follows from answers may be an id of something else, so that a 404 is to be expected.
        await _try_out(api.base, "stateful", tmp_path)

    count = re.search(r"(\d+) generated", said)
    assert count is not None, said
    assert int(count[1]) > 500, said
    assert "Missing test data" not in said, said


async def _try_out(base: object, phases: str, folder: Path) -> str:
    """What a run says in which nothing failed."""
    run = await asyncio.create_subprocess_exec(
        *(SCHEMATHESIS, "--config-file", CONFIGURATION, "run", f"{base}/openapi.json", "--phases", phases),
        *("--header", f"Authorization: Bearer {TOKEN}", "--exclude-checks", UNSAID),
        *("--generation-deterministic", "--max-examples", str(EXAMPLES), "--no-shrink", "--no-color"),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said = (await run.communicate())[0].decode()
    assert run.returncode == 0, said
    return said
