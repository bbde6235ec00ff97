"""Why attempts failed, in plain words, and what helps: the texts for each cause. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from router.application.explain import Cause, Explanation, explain
from router.domain.delivery import Attempt
from router.web.console.formats import Formats
from router.web.console.language import N_, Language


@dataclass(frozen=True, slots=True, kw_only=True)
class Words:
    """What happened, and what helps."""

    what: str
    remedy: str


_OPERATOR: Final = N_("An operator can look it up in the log of the router.")

WORDS: Final[Mapping[Cause, tuple[str, str]]] = {
    Cause.TIMEOUT: (
        N_("%(host)s did not answer within %(seconds)s s."),
        N_("The server should answer 2xx as soon as it has the event, and do its work afterwards."),
    ),
    Cause.CONNECT_TIMEOUT: (
        N_("%(host)s could not be reached within %(seconds)s s."),
        N_("Check that the server runs and that its firewall lets our addresses through."),
    ),
    Cause.CONNECTION_REFUSED: (
        N_("%(host)s refuses connections."),
        N_("Check that the server runs and listens on this port."),
    ),
    Cause.CONNECTION_RESET: (
        N_("%(host)s broke the connection off."),
        N_("Look into the server's log at this time; a proxy or firewall may cut it off."),
    ),
    Cause.CLOSED_WITHOUT_ANSWER: (
        N_("%(host)s took the request and closed the connection without an answer."),
        N_("The program behind it probably crashed: its log at this time says more."),
    ),
    Cause.NAME_NOT_FOUND: (
        N_("The name %(host)s does not exist."),
        N_("Check the spelling of the host in the URL, and its DNS entry."),
    ),
    Cause.NAME_WITHOUT_ADDRESS: (
        N_("The name %(host)s has no address."),
        N_("Its DNS entry needs an A or AAAA record."),
    ),
    Cause.NAME_SERVERS: (
        N_("The name servers of %(host)s did not say its address."),
        N_("Check the DNS of the domain; it may be over by itself."),
    ),
    Cause.CERTIFICATE_EXPIRED: (
        N_("The certificate of %(host)s has expired."),
        N_("Renew it on the server, and see that it renews itself from now on."),
    ),
    Cause.CERTIFICATE_EXPIRED_ON: (
        N_("The certificate of %(host)s expired on %(at)s."),
        N_("Renew it on the server, and see that it renews itself from now on."),
    ),
    Cause.CERTIFICATE_NOT_YET_VALID: (
        N_("The certificate of %(host)s is not valid yet."),
        N_("Wait until it is, or install another one."),
    ),
    Cause.CERTIFICATE_OF_OTHER_HOST: (
        N_("The certificate that %(host)s shows is for another host."),
        N_("The certificate must name the host of the URL, or the URL the host of the certificate."),
    ),
    Cause.CERTIFICATE_SELF_SIGNED: (
        N_("The certificate of %(host)s is signed by itself."),
        N_("It must come from a public authority; some give them free of charge."),
    ),
    Cause.CERTIFICATE_UNTRUSTED: (
        N_("The certificate of %(host)s comes from an authority that is not known, or its chain is incomplete."),
        N_("Install the intermediate certificates too (“full chain”), from a public authority."),
    ),
    Cause.CLIENT_CERTIFICATE: (
        N_("%(host)s did not accept our client certificate."),
        N_("Check which certificate the webhook has, and which authority the server trusts."),
    ),
    Cause.NOT_TLS: (
        N_("%(host)s does not speak TLS on this port."),
        N_("Check the port in the URL: https is usually 443."),
    ),
    Cause.NO_COMMON_TLS: (
        N_("%(host)s speaks no version of TLS that we accept."),
        N_("It must offer TLS 1.2 or 1.3 with ciphers of today."),
    ),
    Cause.TLS: (
        N_("The encryption with %(host)s failed."),
        N_("Check that the certificate is valid, fits the host and comes with its whole chain."),
    ),
    Cause.REDIRECT: (
        N_("%(host)s answered %(status)s: it sends us to another address."),
        N_("Redirects are not followed: enter the final address as the URL."),
    ),
    Cause.REDIRECT_ELSEWHERE: (
        N_("%(host)s answered %(status)s: it sends us to %(to)s."),
        N_("Redirects are not followed: enter the final address as the URL, if that host is right."),
    ),
    Cause.BAD_REQUEST: (
        N_("%(host)s could not use the event (%(status)s)."),
        N_("The answer or the server's log says what it expected."),
    ),
    Cause.UNAUTHORIZED: (
        N_("%(host)s wants other credentials (401)."),
        N_("Check the password, token or header of the webhook, and that the signature is verified with its secret."),
    ),
    Cause.FORBIDDEN: (
        N_("%(host)s does not let us in (403)."),
        N_("A firewall or a protection against robots may be in the way: allow our addresses or the signature."),
    ),
    Cause.NOT_FOUND: (
        N_("%(host)s knows no such address (404)."),
        N_("Check the path in the URL; the receiving program may have moved."),
    ),
    Cause.METHOD_NOT_ALLOWED: (
        N_("%(host)s takes no POST at this address (405)."),
        N_("Check the path in the URL: it leads to a page and not to the receiving program."),
    ),
    Cause.GONE: (
        N_("%(host)s wants no more events at this address (410)."),
        N_("The webhook is suspended. If that was a mistake, correct the server and resume it."),
    ),
    Cause.TOO_LARGE: (
        N_("The event is too large for %(host)s (413)."),
        N_("Raise the limit of request bodies on the server."),
    ),
    Cause.UNSUPPORTED_TYPE: (
        N_("%(host)s does not take JSON (415)."),
        N_("The receiving program must accept application/json."),
    ),
    Cause.TOO_MANY_REQUESTS: (
        N_("%(host)s got too many requests (429)."),
        N_("It is tried again later, as the server wishes; raise its limit if it happens often."),
    ),
    Cause.CLIENT_ERROR: (
        N_("%(host)s refused the event (%(status)s)."),
        N_("The answer or the server's log says why."),
    ),
    Cause.SERVER_ERROR: (
        N_("The program on %(host)s failed (%(status)s)."),
        N_("The server's log at this time says why."),
    ),
    Cause.BAD_GATEWAY: (
        N_("%(host)s is up, but the program behind it is not (%(status)s)."),
        N_("Check the program behind the proxy, and how long it takes."),
    ),
    Cause.UNAVAILABLE: (
        N_("%(host)s is not available at the moment (503)."),
        N_("Maintenance or overload: it is tried again, as late as the server wishes."),
    ),
    Cause.ODD_STATUS: (
        N_("%(host)s answered %(status)s, which is no success."),
        N_("The server must answer 200 to 299."),
    ),
    Cause.BLOCKED_ADDRESS: (
        N_("%(host)s leads to an address that nothing is sent to."),
        N_("The URL must lead to a public address; an operator can allow others."),
    ),
    Cause.PROTOCOL: (
        N_("What %(host)s answered is no proper HTTP."),
        N_("Check that the URL leads to an HTTP server, and to the right port."),
    ),
    Cause.TOKEN_ENDPOINT: (
        N_("There was no access token to send: its server gave none."),
        N_("Check the token URL, the client and its secret; the answer says what went wrong."),
    ),
    Cause.NO_ROUTE: (
        N_("There is no way to the network of %(host)s."),
        _OPERATOR,
    ),
    Cause.OTHER: (
        N_("The attempt at %(host)s failed in an unusual way."),
        _OPERATOR,
    ),
}


def words_for(attempt: Attempt, url: str, language: Language, fmt: Formats) -> Words | None:
    """None for a success."""
    found = explain(attempt, url)
    return None if found is None else words_of(found, language, fmt)


def words_of(found: Explanation, language: Language, fmt: Formats) -> Words:
    what, remedy = WORDS[found.cause]
    values = {
        name: fmt.day(value) if isinstance(value, datetime) else str(value) if name == "status" else value
        for name, value in found.parameters.items()
    }
    return Words(what=language.gettext(what, **values), remedy=language.gettext(remedy))
