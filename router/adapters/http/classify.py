"""From aiohttp's exceptions to what the attempt log says: the only place where they are translated. Pure.

No text made here holds an address, a host, a URL or a byte of the answer: those stay in the exceptions.
"""

from __future__ import annotations

import errno
import os
import re
import ssl
from typing import Final

import aiohttp
from aiodns.error import (
    ARES_ECANCELLED,
    ARES_ECONNREFUSED,
    ARES_EDESTRUCTION,
    ARES_EFILE,
    ARES_ENODATA,
    ARES_ENOMEM,
    ARES_ENOTFOUND,
    DNSError,
)
from aiohttp.http import HttpProcessingError

from router.adapters.http.trail import Trail
from router.domain.delivery import AttemptError, ErrorDetail, ErrorKind
from router.domain.outcome import LocalFault, NoAnswer

_LOCAL_ERRNOS: Final = frozenset(
    {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}  # the last: no free local port
)
_LOCAL_DNS_CODES: Final = frozenset({ARES_ECONNREFUSED, ARES_ENOMEM, ARES_EFILE, ARES_ECANCELLED, ARES_EDESTRUCTION})
"""Our own name servers cannot be reached. A timeout is not among them: it may be the customer's server."""

_ERRORS_BY_ERRNO: Final = {
    errno.ECONNREFUSED: AttemptError.CONNECTION_REFUSED,
    errno.ECONNRESET: AttemptError.CONNECTION_RESET,
    errno.ECONNABORTED: AttemptError.CONNECTION_RESET,
    errno.EPIPE: AttemptError.CONNECTION_RESET,
}
_MERGED_ERRNO: Final = re.compile(r"\[Errno (\d+)\]")

_HOSTNAME_MISMATCH: Final = 62  # X509_V_ERR_HOSTNAME_MISMATCH; OpenSSL's own text quotes the name
_IP_ADDRESS_MISMATCH: Final = 64
_CERTIFICATE_KINDS: Final = {
    # OpenSSL's X509_V_ERR_…
    9: ErrorKind.CERTIFICATE_NOT_YET_VALID,
    10: ErrorKind.CERTIFICATE_EXPIRED,
    18: ErrorKind.CERTIFICATE_SELF_SIGNED,
    **dict.fromkeys((2, 19, 20, 21), ErrorKind.CERTIFICATE_UNTRUSTED),
    **dict.fromkeys((_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH), ErrorKind.CERTIFICATE_OF_OTHER_HOST),
}
_HANDSHAKE_KINDS: Final = {
    **dict.fromkeys(("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG"), ErrorKind.NOT_TLS),
    **dict.fromkeys(
        ("TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL", "SSLV3_ALERT_HANDSHAKE_FAILURE"),
        ErrorKind.NO_COMMON_TLS,
    ),
    **dict.fromkeys(
        ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_BAD_CERTIFICATE", "TLSV1_ALERT_UNKNOWN_CA"),
        ErrorKind.CLIENT_CERTIFICATE,
    ),
}
_DNS_KINDS: Final = {ARES_ENOTFOUND: ErrorKind.NAME_NOT_FOUND, ARES_ENODATA: ErrorKind.NAME_WITHOUT_ADDRESS}
_NO_ROUTE: Final = frozenset({errno.EHOSTUNREACH, errno.ENETUNREACH})


def classify(exc: Exception, trail: Trail) -> NoAnswer | LocalFault:
    """What it means that a request ended with `exc` instead of an answer's head."""
    if trail.proxy_fault is not None:
        return trail.proxy_fault.result
    if trail.is_blocked:
        return NoAnswer(error=AttemptError.BLOCKED_ADDRESS, detail=str(trail.refusal))
    if isinstance(exc, TimeoutError) and exc.errno is None:
        return _timed_out(trail)
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return _not_resolved(exc.os_error)
    if (fault := _tls_fault(exc)) is not None:
        return _no_answer(AttemptError.TLS, tls_detail(fault), _tls_kind(fault))
    return _os_error(exc, trail) if isinstance(exc, OSError) else _other(exc)


def _timed_out(trail: Trail) -> NoAnswer:
    if trail.connected:
        return NoAnswer(error=AttemptError.TIMEOUT, detail="no answer in time")
    if trail.dialled:
        return NoAnswer(error=AttemptError.CONNECT_TIMEOUT, detail="no connection in time")
    return _no_answer(AttemptError.DNS, "the name was not resolved in time", ErrorKind.NAME_SERVERS)


def _not_resolved(fault: OSError) -> NoAnswer | LocalFault:
    detail = fault.strerror or "the name could not be resolved"
    cause = fault.__cause__
    if isinstance(cause, DNSError) and cause.args[0] in _LOCAL_DNS_CODES:
        return LocalFault(detail=detail)
    kind = _DNS_KINDS.get(cause.args[0]) if isinstance(cause, DNSError) else None
    return _no_answer(AttemptError.DNS, detail, kind or ErrorKind.NAME_SERVERS)


def _tls_fault(exc: Exception) -> Exception | None:
    """The TLS error in `exc`, wherever aiohttp put it."""
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        return exc.certificate_error
    candidates = (getattr(exc, "os_error", None), exc.__cause__)
    return next((fault for fault in candidates if isinstance(fault, ssl.SSLError)), None)


def tls_detail(fault: Exception) -> str:
    """What is wrong with a TLS handshake, without any name that a certificate holds."""
    if isinstance(fault, ssl.SSLCertVerificationError):
        if fault.verify_code in (_HOSTNAME_MISMATCH, _IP_ADDRESS_MISMATCH):
            return "the certificate is for another host"
        return fault.verify_message
    reason = fault.reason if isinstance(fault, ssl.SSLError) else None
    return (reason or "handshake failed").replace("_", " ").lower()


def _tls_kind(fault: Exception) -> ErrorKind | None:
    if isinstance(fault, ssl.SSLCertVerificationError):
        return _CERTIFICATE_KINDS.get(fault.verify_code)
    reason = fault.reason if isinstance(fault, ssl.SSLError) else None
    return _HANDSHAKE_KINDS.get(reason or "")


def _os_error(exc: OSError, trail: Trail) -> NoAnswer | LocalFault:
    number = _errno_of(exc)
    if number in _LOCAL_ERRNOS:
        return LocalFault(detail=os.strerror(number))
    if number == errno.ETIMEDOUT:
        return _timed_out(trail)
    error = _ERRORS_BY_ERRNO.get(number, AttemptError.OTHER)
    kind = ErrorKind.NO_ROUTE if number in _NO_ROUTE else None
    return _no_answer(error, os.strerror(number) if number else type(exc).__name__, kind)


def _errno_of(exc: OSError) -> int:
    """The number of the error, or the most telling one where several addresses failed in different ways; 0: none.

    Happy eyeballs then leaves nothing but the texts, joined.
    """
    fault = exc.os_error if isinstance(exc, aiohttp.ClientConnectorError) else exc
    if fault.errno is not None:
        return fault.errno
    if isinstance(fault, ConnectionError) or isinstance(fault.__cause__, ConnectionError):
        return errno.ECONNRESET  # hung up during the TLS handshake, or before the request was written
    numbers = {int(text) for text in _MERGED_ERRNO.findall(str(fault))} - {errno.EACCES}
    known = sorted(numbers, key=lambda number: (number not in _ERRORS_BY_ERRNO, number in _LOCAL_ERRNOS))
    return known[0] if known else 0


def _other(exc: Exception) -> NoAnswer:
    kind = None
    match exc:
        case aiohttp.ServerDisconnectedError():
            error, detail = AttemptError.CONNECTION_RESET, "closed without an answer"
            kind = ErrorKind.CLOSED_WITHOUT_ANSWER
        case aiohttp.ClientResponseError() | HttpProcessingError():
            error, detail = AttemptError.PROTOCOL, "the answer is not valid HTTP, or its head is too large"
        case aiohttp.InvalidURL():
            error, detail = AttemptError.BLOCKED_ADDRESS, "the host is a number, but no canonical IPv4 address"
        case _:
            error, detail = AttemptError.OTHER, type(exc).__name__
    return _no_answer(error, detail, kind)


def _no_answer(error: AttemptError, detail: str, kind: ErrorKind | None) -> NoAnswer:
    return NoAnswer(error=error, detail=detail, error_detail=None if kind is None else ErrorDetail(kind=kind))
