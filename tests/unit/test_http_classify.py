"""How aiohttp's exceptions become attempt errors, where no server can be made to cause them."""

import errno
import os

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey

from router.adapters.http.classify import classify
from router.adapters.http.egress import EgressDenied
from router.adapters.http.trail import Trail
from router.domain.delivery import AttemptError
from router.domain.egress import EgressRule, Refusal
from router.domain.outcome import LocalFault, NoAnswer

REFUSAL = Refusal(EgressRule.NOT_PUBLIC, "not public")
HOST, TOKEN = "crm.example", "s3cret"
KEY = ConnectionKey(HOST, 443, True, True, None, None, None, None)


def while_connecting(fault: OSError) -> aiohttp.ClientConnectorError:
    return aiohttp.ClientConnectorError(KEY, fault)


def dialled() -> Trail:
    return Trail(dialled=1)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL])
def test_what_this_host_lacks_is_our_fault(number: int) -> None:
    fault = OSError(number, os.strerror(number))

    assert classify(while_connecting(fault), dialled()) == LocalFault(detail=os.strerror(number))


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ECONNREFUSED, AttemptError.CONNECTION_REFUSED),
        (errno.ECONNRESET, AttemptError.CONNECTION_RESET),
        (errno.ECONNABORTED, AttemptError.CONNECTION_RESET),
        (errno.EPIPE, AttemptError.CONNECTION_RESET),
        (errno.ETIMEDOUT, AttemptError.CONNECT_TIMEOUT),
        (errno.EHOSTUNREACH, AttemptError.OTHER),
        (errno.ENETUNREACH, AttemptError.OTHER),
    ],
)
def test_errno_has_a_name(number: int, error: AttemptError) -> None:
    fault = OSError(number, f"Connect call failed ('192.0.2.1', 443): {HOST}")

    result = classify(while_connecting(fault), dialled())

    assert isinstance(result, NoAnswer)
    assert result.error is error
    assert HOST not in result.detail


@pytest.mark.parametrize(
    ("numbers", "error"),
    [
        ([errno.ENETUNREACH, errno.ECONNREFUSED], AttemptError.CONNECTION_REFUSED),
        ([errno.EACCES, errno.ECONNREFUSED], AttemptError.CONNECTION_REFUSED),
        ([errno.EMFILE, errno.ECONNREFUSED], AttemptError.CONNECTION_REFUSED),
        ([errno.ENETUNREACH, errno.EHOSTUNREACH], AttemptError.OTHER),
    ],
)
def test_errors_of_several_addresses_are_told_apart(numbers: list[int], error: AttemptError) -> None:
    # As happy eyeballs raises it: no errno, the texts joined.
    text = ", ".join(str(OSError(number, "Connect call failed")) for number in numbers)

    result = classify(while_connecting(OSError(f"Multiple exceptions: {text}")), dialled())

    assert isinstance(result, NoAnswer)
    assert result.error is error


def test_only_denials_make_a_blocked_address() -> None:
    denial = while_connecting(EgressDenied(errno.EACCES, "not public"))

    blocked = classify(denial, Trail(denied=2, refusal=REFUSAL))
    mixed = classify(while_connecting(OSError(errno.EMFILE, "")), Trail(denied=1, dialled=1, refusal=REFUSAL))

    assert blocked == NoAnswer(error=AttemptError.BLOCKED_ADDRESS, detail="not public")
    assert mixed == LocalFault(detail=os.strerror(errno.EMFILE))


@pytest.mark.parametrize(
    ("trail", "error"),
    [
        (Trail(), AttemptError.DNS),
        (Trail(dialled=1), AttemptError.CONNECT_TIMEOUT),
        (Trail(dialled=1, connected=True), AttemptError.TIMEOUT),
        (Trail(connected=True), AttemptError.TIMEOUT),
    ],
)
def test_timeout_is_named_after_what_was_waited_for(trail: Trail, error: AttemptError) -> None:
    for timeout in (TimeoutError(), aiohttp.ConnectionTimeoutError(f"Connection timeout to host {HOST}")):
        result = classify(timeout, trail)

        assert isinstance(result, NoAnswer)
        assert result.error is error


def test_second_connection_begins_with_a_clean_trail() -> None:
    trail = Trail(dialled=1, denied=1, refusal=REFUSAL, connected=True, heard=True)

    trail.restart()

    assert trail == Trail()


def test_unknown_exception_is_an_attempt_and_its_text_is_not_repeated() -> None:
    result = classify(ValueError(f"https://{HOST}/?token={TOKEN}"), dialled())

    assert result == NoAnswer(error=AttemptError.OTHER, detail="ValueError")
