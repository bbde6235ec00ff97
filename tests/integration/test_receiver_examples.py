"""The receivers of examples/ take what the router signs, and nothing else. Each one runs as its reader would run it."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pytest

from router.adapters.embedded.processes import LOOPBACK, free_ports, log_tail, spawn, terminate
from router.domain.signing import format_secret, sign
from tests.support.servers import unique

EXAMPLES = Path(__file__).parents[2] / "examples" / "receivers"
KEY, OLD_KEY, FOREIGN_KEY = b"k" * 32, b"o" * 32, b"f" * 32
BODY = '{"name":"call.received", "call_id":"c-1","big":123456789012345678901234567890,"é":1e3}'.encode()
WAIT_SECONDS = 20.0
TOLERANCE_SECONDS = 300
NO_CHANGES: Final[Mapping[str, str | None]] = MappingProxyType({})

Command = Callable[[int], list[str]]
"""The command line of a receiver on a port."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """One running example."""

    port: int
    log: Path

    def post(
        self,
        webhook_id: str,
        body: bytes = BODY,
        *,
        keys: tuple[bytes, ...] = (KEY,),
        seconds_ago: int = 0,
        headers: Mapping[str, str | None] = NO_CHANGES,
    ) -> int:
        """The status of the answer to a request that was signed with `keys`.

        `headers` replace those that belong to it; None leaves one out.
        """
        timestamp = int(time.time()) - seconds_ago
        sent = {
            "content-type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(keys, webhook_id, timestamp, BODY),
            "x-webhook-attempt": "1",
            **headers,
        }
        connection = http.client.HTTPConnection(LOOPBACK, self.port, timeout=WAIT_SECONDS)
        try:
            connection.request("POST", "/hook", body, {name: text for name, text in sent.items() if text is not None})
            return connection.getresponse().status
        finally:
            connection.close()

    def said(self, text: str) -> int:
        """How often it said `text`, after it had time to say it once."""
        deadline = time.monotonic() + WAIT_SECONDS
        while text not in (said := self.log.read_text(encoding="utf-8")) and time.monotonic() < deadline:
            time.sleep(0.02)
        return said.count(text)


def needs(program: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")


COMMANDS = [
    pytest.param(lambda _: [sys.executable, "receiver.py"], id="python"),
    pytest.param(lambda _: ["node", "receiver.mjs"], id="node", marks=needs("node")),
    pytest.param(lambda port: ["php", "-S", f"{LOOPBACK}:{port}", "receiver.php"], id="php", marks=needs("php")),
]


def run(command: Command, folder: Path, secrets: str) -> Iterator[Receiver]:
    (port,) = free_ports(1)
    log = folder / "log"
    program, *arguments = command(port)
    arguments = [str(EXAMPLES / each) if each.startswith("receiver.") else each for each in arguments]
    environment = {**os.environ, "WEBHOOK_SECRET": secrets, "PORT": str(port), "INBOX": str(folder / "inbox")}
    process = spawn([program, *arguments], log=log, env=environment)
    try:
        deadline = time.monotonic() + WAIT_SECONDS
        while not is_listening(port):
            assert process.poll() is None, log_tail(log)
            assert time.monotonic() < deadline, log_tail(log)
            time.sleep(0.02)
        yield Receiver(port, log)
    finally:
        terminate(process, timeout_seconds=WAIT_SECONDS)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


@pytest.fixture(scope="module", params=COMMANDS)
def receiver(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    """A receiver that knows KEY."""
    yield from run(request.param, tmp_path_factory.mktemp("receiver"), format_secret(KEY))


@pytest.fixture(params=COMMANDS)
def rotating(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Receiver]:
    """A receiver that knows two secrets."""
    yield from run(request.param, tmp_path, f"{format_secret(KEY)} {format_secret(OLD_KEY)}")


# --- taken -----------------------------------------------------------------------------------------


def test_signed_request_is_taken_and_handled(receiver: Receiver) -> None:
    event = unique("evt_")
    assert receiver.post(event) == 204
    assert receiver.said(f"handled {event} call.received") == 1


def test_same_event_is_handled_once_and_answered_well_each_time(receiver: Receiver) -> None:
    event = unique("evt_")
    answers = [receiver.post(event, headers={"x-webhook-attempt": str(number)}) for number in (1, 2, 3)]

    assert answers == [204] * 3
    assert receiver.said(f"seen before {event} attempt=3") == 1
    assert receiver.said(f"handled {event}") == 1


@pytest.mark.parametrize("seconds_ago", [TOLERANCE_SECONDS - 10, 10 - TOLERANCE_SECONDS])
def test_clock_may_be_off_by_less_than_five_minutes(receiver: Receiver, seconds_ago: int) -> None:
    assert receiver.post(unique("evt_"), seconds_ago=seconds_ago) == 204


@pytest.mark.parametrize("keys", [(KEY, OLD_KEY), (OLD_KEY, KEY), (OLD_KEY, FOREIGN_KEY, KEY)])
def test_one_known_key_of_several_is_enough(receiver: Receiver, keys: tuple[bytes, ...]) -> None:
    assert receiver.post(unique("evt_"), keys=keys) == 204


def test_signature_of_an_unknown_version_is_passed_over(receiver: Receiver) -> None:
    event = unique("evt_")
    signature = sign((KEY,), event, int(time.time()), BODY)
    assert receiver.post(event, headers={"webhook-signature": f"v1a,bm90IG91cnM= {signature}"}) == 204


@pytest.mark.parametrize("keys", [(KEY,), (OLD_KEY,), (OLD_KEY, KEY)])
def test_receiver_takes_either_secret_while_it_knows_two(rotating: Receiver, keys: tuple[bytes, ...]) -> None:
    assert rotating.post(unique("evt_"), keys=keys) == 204


# --- refused ---------------------------------------------------------------------------------------


def test_signature_of_another_key_is_refused(receiver: Receiver) -> None:
    event = unique("evt_")
    assert receiver.post(event, keys=(FOREIGN_KEY, OLD_KEY)) == 401
    assert receiver.post(event) == 204, "what was refused has not been remembered"


@pytest.mark.parametrize("seconds_ago", [TOLERANCE_SECONDS + 10, -TOLERANCE_SECONDS - 10])
def test_old_request_is_refused_however_well_it_is_signed(receiver: Receiver, seconds_ago: int) -> None:
    assert receiver.post(unique("evt_"), seconds_ago=seconds_ago) == 401


@pytest.mark.parametrize(
    "body",
    [BODY + b" ", BODY.replace(b'", "', b'","'), BODY.replace(b"1e3", b"1000.0"), b""],
    ids=["a blank more", "written again", "another spelling of a number", "empty"],
)
def test_other_bytes_than_those_that_were_signed_are_refused(receiver: Receiver, body: bytes) -> None:
    assert receiver.post(unique("evt_"), body) == 401


def test_id_is_part_of_what_is_signed(receiver: Receiver) -> None:
    assert receiver.post(unique("evt_"), headers={"webhook-id": unique("other_")}) == 401


@pytest.mark.parametrize("header", ["webhook-signature", "webhook-timestamp", "webhook-id"])
@pytest.mark.parametrize("value", [None, "", "v1,", "nonsense"])
def test_request_without_a_good_header_is_refused(receiver: Receiver, header: str, value: str | None) -> None:
    assert receiver.post(unique("evt_"), headers={header: value}) == 401
