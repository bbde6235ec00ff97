"""Sending one attempt over HTTP, within its time, to a permitted address; whatever happens comes back as a value.

Owns the connection pool, the resolver, and what requests prove themselves with: access tokens, client certificates.
Decides nothing about deliveries.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from io import BytesIO
from typing import Final
from urllib.parse import urlencode

import aiohttp
from aiohttp.abc import AbstractResolver
from aiohttp.http import HttpProcessingError
from yarl import URL

from router.adapters.http.classify import classify
from router.adapters.http.connector import GuardedConnector, client_tls, name_resolver
from router.adapters.http.expiries import Expiries
from router.adapters.http.identities import ClientIdentities
from router.adapters.http.proxy import ProxyAddress, ProxyTunnels
from router.adapters.http.tokens import MAX_TOKEN_ANSWER_BYTES, Grant, TokenAnswer, Tokens, failure, read_token
from router.adapters.http.trail import TRAIL, ProxyFaultKind, Trail
from router.domain.credentials import ClientCertificate, OAuth2Auth
from router.domain.delivery import MAX_KEPT_RESPONSE_BYTES, AttemptError, ErrorDetail, ErrorKind
from router.domain.egress import EgressPolicy, EgressRule, Refusal, check_url
from router.domain.outcome import RETRY_AFTER_STATUSES, Answer, LocalFault, NoAnswer, SendResult
from router.domain.retry import parse_retry_after
from router.ports import OutgoingRequest

CONNECT_TIMEOUT: Final = timedelta(seconds=3)
"""For the name, the TCP connection and the TLS handshake together (contract, section 4)."""
MAX_HEAD_FIELD_BYTES: Final = 8190
"""The longest status line or header field of an answer that is accepted."""
MAX_HOST_LENGTH: Final = 253
"""Of a name in DNS, and so of the host of a redirect that is kept."""
_MAX_PLAIN_BODY_BYTES: Final = 1024 * 1024
"""aiohttp warns of larger bytes, which it would write at once; a BytesIO is written in pieces."""

_NOT_OURS: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
"""Headers that aiohttp would add; an `Accept-Encoding` would ask for answers that we do not unpack."""

_SHUTTING_DOWN: Final = LocalFault(detail="shutting down")


class HttpSender:
    """A `ports.Sender`. Usable between `open` and `close`, by any number of tasks of one event loop."""

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        connect_timeout: timedelta = CONNECT_TIMEOUT,
        resolver: Callable[[], AbstractResolver] = name_resolver,
        tls: Callable[[], ssl.SSLContext] = client_tls,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        on_refusal: Callable[[EgressRule], None] = lambda _: None,
        proxy: ProxyAddress | None = None,
        on_proxy_fault: Callable[[ProxyFaultKind], None] = lambda _: None,
    ) -> None:
        """`resolver` is called by `open`; `tls` too, and for each client certificate. A Retry-After date is compared
        with `now`. `on_refusal` hears of each request that the egress policy refused. With a `proxy` every connection
        is its; `on_proxy_fault` hears of each that did not come about."""
        self._policy = policy
        self._timeout = aiohttp.ClientTimeout(
            total=None,  # ours bounds a whole attempt, over two connections
            connect=connect_timeout.total_seconds(),
            ceil_threshold=float("inf"),  # aiohttp rounds longer timeouts up to whole seconds
        )
        self._make_resolver = resolver
        self._new_tls = tls
        self._now = now
        self._on_refusal = on_refusal
        self._proxy = proxy
        self._on_proxy_fault = on_proxy_fault
        self._sessions_open = False

    async def open(self) -> None:
        """Create the pool; connects to nothing."""
        tls = self._new_tls()
        self._resolver = self._make_resolver()
        self._identities = ClientIdentities(self._new_tls)
        self._expiries = Expiries(self._policy, self._resolver)
        self._tokens = Tokens(asyncio.get_running_loop().time)
        proxy = self._proxy
        self._tunnels = ProxyTunnels(proxy, resolver=self._resolver, tls=tls) if proxy is not None else None
        self._pooled = self._session(tls, force_close=False)
        self._unpooled = self._session(tls, force_close=True)
        self._sessions_open = True

    async def close(self) -> None:
        """Close every connection. Requests that are under way end as local faults. May be called twice."""
        if not self._is_open():
            return
        self._sessions_open = False
        await self._tokens.close()
        await self._identities.close()
        await self._pooled.close()
        await self._unpooled.close()
        await self._resolver.close()

    async def send(self, request: OutgoingRequest) -> SendResult:
        """POST once. Nothing but cancellation is raised.

        The status decides as soon as the head of the answer is there: a body that is late, cut off or wrong is
        an answer with `truncated`.
        """
        deadline = asyncio.get_running_loop().time() + request.timeout.total_seconds()
        if not self._is_open():
            return _SHUTTING_DOWN
        try:
            certificate = request.client_certificate
            tls = None if certificate is None else await self._identity(certificate, deadline)
            if not isinstance(tls, ssl.SSLContext | None):
                return tls
            if request.auth is None:
                return await self._exchange(request, deadline, tls=tls)
            return await self._exchange_with_token(request, request.auth, deadline, tls)
        except asyncio.CancelledError:
            # Closing cancels what is shared, a DNS lookup or a token, though nobody cancelled this task.
            if not self._is_open() and not _is_cancelled():
                return _SHUTTING_DOWN
            raise

    # --- who we are ---

    async def _identity(
        self, certificate: ClientCertificate, deadline: float
    ) -> ssl.SSLContext | NoAnswer | LocalFault:
        """The context that shows `certificate`, or why there is none in time."""
        try:
            async with asyncio.timeout_at(deadline):
                return await self._identities.context(certificate)
        except ssl.SSLError:
            return NoAnswer(error=AttemptError.TLS, detail="OpenSSL does not take the client certificate")
        except OSError as fault:
            return LocalFault(detail=f"the client certificate could not be loaded ({type(fault).__name__})")

    async def _exchange_with_token(
        self, request: OutgoingRequest, auth: OAuth2Auth, deadline: float, tls: ssl.SSLContext | None
    ) -> SendResult:
        try:
            async with asyncio.timeout_at(deadline):
                grant = await self._tokens.get(request.webhook_id, auth, lambda: self._fetch_token(auth, request))
        except TimeoutError:
            return failure(AttemptError.TIMEOUT, "no answer in time")
        if not isinstance(grant, Grant):
            return grant
        headers = {**request.headers, "authorization": f"Bearer {grant.token}"}
        answer = await self._exchange(replace(request, headers=headers), deadline, tls=tls)
        if isinstance(answer, Answer) and answer.status_code == 401:
            self._tokens.refused(request.webhook_id, grant.token)
        return answer

    async def _fetch_token(self, auth: OAuth2Auth, request: OutgoingRequest) -> TokenAnswer:
        """Ask for a token, for as long as an attempt may take, by the same way and rules as everything goes out."""
        form, headers = auth.token_request()
        asking = OutgoingRequest(
            url=auth.token_url,
            headers={
                "accept": "application/json",
                "content-type": "application/x-www-form-urlencoded",
                "user-agent": request.headers.get("user-agent", ""),
                **headers,
            },
            body=urlencode(form).encode("ascii"),
            timeout=request.timeout,
            webhook_id=request.webhook_id,
        )
        deadline = asyncio.get_running_loop().time() + request.timeout.total_seconds()
        answer = await self._exchange(asking, deadline, max_body_bytes=MAX_TOKEN_ANSWER_BYTES)
        match answer:
            case Answer():
                return read_token(answer.status_code, answer.body, complete=not answer.truncated)
            case NoAnswer(error=AttemptError.BLOCKED_ADDRESS):
                # Which rule and which setting is for the operator alone.
                return replace(failure(answer.error, "its address is not allowed"), detail=f"token {answer.detail}")
            case NoAnswer():
                return failure(answer.error, answer.detail)
            case LocalFault():
                return answer

    # --- one request ---

    async def _exchange(
        self,
        request: OutgoingRequest,
        deadline: float,
        *,
        tls: ssl.SSLContext | None = None,
        max_body_bytes: int = MAX_KEPT_RESPONSE_BYTES,
    ) -> SendResult:
        """POST once, as far as the policy permits. `tls` None: the context of everybody."""
        url = _parse(request.url)
        if isinstance(url, Refusal):
            return self._refused(url)
        if (refusal := self._refusal(url)) is not None:
            return self._refused(refusal)
        if not self._is_open():
            return _SHUTTING_DOWN

        trail = Trail()
        token = TRAIL.set(trail)
        try:
            async with asyncio.timeout_at(deadline):
                response = await self._post(url, request, trail, tls)
        except Exception as exc:
            if not self._is_open():
                return _SHUTTING_DOWN
            return await self._dated(self._classify(exc, trail), url, deadline)
        finally:
            TRAIL.reset(token)

        return await self._read(response, deadline, max_body_bytes)

    def _refusal(self, url: URL) -> Refusal | None:
        """The rule that `url` breaks before anything is dialled; a proxy is not asked for what is refused by name."""
        if self._proxy is None:
            return self._policy.scheme_refusal(url.scheme)
        return self._policy.target_refusal(url.scheme, url.raw_host or "", url.port or 0)

    def _refused(self, refusal: Refusal) -> NoAnswer:
        self._on_refusal(refusal.rule)
        return NoAnswer(error=AttemptError.BLOCKED_ADDRESS, detail=refusal.text)

    def _classify(self, exc: Exception, trail: Trail) -> NoAnswer | LocalFault:
        answer = classify(exc, trail)
        if trail.proxy_fault is not None:
            self._on_proxy_fault(trail.proxy_fault.kind)
        if isinstance(answer, NoAnswer) and answer.error is AttemptError.BLOCKED_ADDRESS:
            # Without a refusal it was the client that did not take the host for an address.
            self._on_refusal(trail.refusal.rule if trail.refusal else EgressRule.NOT_AN_ADDRESS)
        return answer

    async def _dated(self, answer: NoAnswer | LocalFault, url: URL, deadline: float) -> NoAnswer | LocalFault:
        """An expired certificate with its date, where that can be had in time. Behind a proxy nothing is dialled."""
        if not isinstance(answer, NoAnswer) or answer.error_detail is None or self._tunnels is not None:
            return answer
        if answer.error_detail.kind is not ErrorKind.CERTIFICATE_EXPIRED:
            return answer
        at = await self._expiries.find(url.raw_host or "", url.port or 0, deadline)
        return replace(answer, error_detail=replace(answer.error_detail, at=at))

    async def _post(
        self, url: URL, request: OutgoingRequest, trail: Trail, tls: ssl.SSLContext | None
    ) -> aiohttp.ClientResponse:
        """The head of the answer. A connection of the pool that turns out to be dead costs no attempt.

        Servers close idle connections whenever they like, also at the moment we write to one. aiohttp repeats
        idempotent methods only.
        """
        try:
            return await self._post_on(self._pooled, url, request, tls)
        except aiohttp.ClientConnectionError:
            if not (self._is_open() and trail.is_unanswered_reuse):
                raise
        trail.restart()
        # Not from the pool: its other connections to this server are as old. Costs a `connection: close` header.
        return await self._post_on(self._unpooled, url, request, tls)

    def _post_on(
        self, session: aiohttp.ClientSession, url: URL, request: OutgoingRequest, tls: ssl.SSLContext | None
    ) -> Awaitable[aiohttp.ClientResponse]:
        body = request.body
        return session.post(
            url,
            headers=request.headers,
            data=body if len(body) <= _MAX_PLAIN_BODY_BYTES else BytesIO(body),
            allow_redirects=False,
            ssl=tls or True,  # part of the pool's key: no connection is shared between certificates
        )

    async def _read(self, response: aiohttp.ClientResponse, deadline: float, max_body_bytes: int) -> Answer:
        try:
            body, complete = await _read_body(response.content, deadline, max_body_bytes)
        finally:
            # An answer that was read to its end has gone back to the pool by itself. Any other is not drained:
            # its connection is closed.
            if not response.closed:
                response.close()
        return Answer(
            status_code=response.status,
            body=body,
            truncated=not complete,
            retry_after_seconds=self._retry_after(response),
            error_detail=_redirection(response),
        )

    def _retry_after(self, response: aiohttp.ClientResponse) -> float | None:
        if response.status not in RETRY_AFTER_STATUSES:
            return None
        value = response.headers.get("Retry-After")
        return parse_retry_after(value, self._now()) if value is not None else None

    def _is_open(self) -> bool:
        return self._sessions_open

    def _session(self, tls: ssl.SSLContext, *, force_close: bool) -> aiohttp.ClientSession:
        return aiohttp.ClientSession(
            connector=GuardedConnector(
                self._policy, resolver=self._resolver, tls=tls, tunnels=self._tunnels, force_close=force_close
            ),
            timeout=self._timeout,
            cookie_jar=aiohttp.DummyCookieJar(),  # cookies would leak between customers of one host
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=_NOT_OURS,
            max_line_size=MAX_HEAD_FIELD_BYTES,
            max_field_size=MAX_HEAD_FIELD_BYTES,
        )


async def _read_body(content: aiohttp.StreamReader, deadline: float, max_bytes: int) -> tuple[bytes, bool]:
    """The beginning of a body, and whether it is the whole."""
    limit = max_bytes + 1
    kept = bytearray()
    try:
        if content.is_eof():  # most answers are short and arrive whole
            kept += content.read_nowait(limit)
        else:
            async with asyncio.timeout_at(deadline):
                while len(kept) < limit and (piece := await content.read(limit - len(kept))):
                    kept += piece
    except (aiohttp.ClientError, HttpProcessingError, OSError):
        return bytes(kept[:max_bytes]), False
    return bytes(kept[:max_bytes]), len(kept) < limit


def _redirection(response: aiohttp.ClientResponse) -> ErrorDetail | None:
    """The host that an answer sends us to; the rest of the address may hold what is nobody's business."""
    if not 300 <= response.status < 400:
        return None
    try:
        host = response.url.join(URL(response.headers.get("Location", ""))).raw_host
    except ValueError:
        host = None
    is_fit = host is not None and len(host) <= MAX_HOST_LENGTH and host.isprintable()
    return ErrorDetail(kind=ErrorKind.REDIRECTED, host=host if is_fit else None)


@lru_cache(maxsize=4096)
def _parse(text: str) -> URL | Refusal:
    """The URL exactly as its owner wrote it, percent-encoding included; or the rule that it breaks."""
    try:
        check_url(text)
    except ValueError as exc:
        return Refusal(EgressRule.MALFORMED, str(exc))
    try:
        return URL(text, encoded=True)
    except ValueError:
        return Refusal(EgressRule.MALFORMED, "the URL cannot be parsed")  # the library's own text would quote it


def _is_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
