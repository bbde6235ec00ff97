"""The words for what the domain tells apart, in one place: labels, tones, and what to do about errors. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, Literal

from router.domain.delivery import AttemptError, DeliveryReason, DeliveryStatus, Trigger
from router.domain.event import EventType, RejectionReason
from router.domain.matching import Verdict
from router.domain.principal import Scope
from router.domain.replay import ReplayKind, ReplayState, Skip
from router.domain.webhook import SuspensionReason, WebhookState
from router.web.console.language import N_, Language

Tone = Literal["good", "bad", "warn", "wait", "idle", "pause", "info"]
"""How a value is meant: gives a badge its colour and its icon, beside its text."""

LABELS: Final[Mapping[type[StrEnum], Mapping[StrEnum, str]]] = {
    EventType: {
        EventType.CALL: N_("Call"),
        EventType.CDR: N_("Call record (CDR)"),
        EventType.USER: N_("User"),
    },
    WebhookState: {
        WebhookState.ACTIVE: N_("Active"),
        WebhookState.PAUSED: N_("Paused"),
        WebhookState.SUSPENDED: N_("Suspended"),
        WebhookState.INVALID: N_("Wrong definition"),
    },
    SuspensionReason: {
        SuspensionReason.GONE: N_("The server answered 410 Gone: it wants no more events at this address."),
        SuspensionReason.FAILING: N_("Nothing but failures for days: no delivery got through."),
    },
    DeliveryStatus: {
        DeliveryStatus.PENDING: N_("Pending"),
        DeliveryStatus.DELIVERED: N_("Delivered"),
        DeliveryStatus.FAILED: N_("Failed"),
        DeliveryStatus.EXPIRED: N_("Expired"),
        DeliveryStatus.CANCELLED: N_("Cancelled"),
    },
    DeliveryReason: {
        DeliveryReason.EXHAUSTED: N_("All attempts failed"),
        DeliveryReason.GONE: N_("The server answered 410 Gone"),
        DeliveryReason.BLOCKED_ADDRESS: N_("The address is not allowed"),
        DeliveryReason.INVALID_URL: N_("The URL is wrong"),
        DeliveryReason.SUSPENDED: N_("The webhook was suspended"),
        DeliveryReason.TOO_OLD: N_("The event was too old"),
        DeliveryReason.WEBHOOK_DELETED: N_("The webhook was deleted"),
    },
    Trigger: {
        Trigger.SCHEDULE: N_("Scheduled"),
        Trigger.REPLAY: N_("Replay"),
        Trigger.TEST: N_("Test"),
    },
    ReplayKind: {
        ReplayKind.DELIVERIES: N_("Deliveries"),
        ReplayKind.MISSING: N_("Events that matched nothing"),
    },
    ReplayState: {
        ReplayState.RUNNING: N_("Running"),
        ReplayState.DONE: N_("Done"),
        ReplayState.CANCELLED: N_("Cancelled"),
    },
    Skip: {
        Skip.PAYLOAD_GONE: N_("Payload not kept any more"),
        Skip.WEBHOOK_DELETED: N_("Webhook deleted"),
        Skip.PENDING: N_("On its way already"),
        Skip.TOO_MANY_ATTEMPTS: N_("Attempted too often"),
        Skip.CHANGED: N_("Changed since"),
        Skip.UNMATCHED: N_("Still matches nothing"),
        Skip.REPEATED: N_("Sent by an earlier replay"),
    },
    AttemptError: {
        AttemptError.TIMEOUT: N_("No answer in time"),
        AttemptError.CONNECT_TIMEOUT: N_("The server could not be reached in time"),
        AttemptError.CONNECTION_REFUSED: N_("The server refused the connection"),
        AttemptError.CONNECTION_RESET: N_("The server broke the connection off"),
        AttemptError.DNS: N_("The name of the server was not found"),
        AttemptError.TLS: N_("The certificate or the encryption failed"),
        AttemptError.REDIRECT: N_("The server sent us elsewhere"),
        AttemptError.HTTP_STATUS: N_("The server answered with an error"),
        AttemptError.BLOCKED_ADDRESS: N_("The address is not allowed"),
        AttemptError.PROTOCOL: N_("The answer was no proper HTTP"),
        AttemptError.OTHER: N_("Another error"),
    },
    Verdict: {
        Verdict.MATCHED: N_("Matched"),
        Verdict.ACCOUNT_DISABLED: N_("The account is switched off"),
        Verdict.INVALID: N_("The definition was wrong"),
        Verdict.PAUSED: N_("The webhook was paused"),
        Verdict.EVENT_TYPE: N_("Another type of event"),
        Verdict.TRACKING_NUMBER: N_("Another tracking number"),
        Verdict.USER_ID: N_("Another user"),
    },
    RejectionReason: {
        RejectionReason.TOO_LARGE: N_("Too large"),
        RejectionReason.UNDECODABLE: N_("Cannot be decoded"),
        RejectionReason.NOT_JSON: N_("Is no JSON"),
        RejectionReason.NOT_AN_OBJECT: N_("Is no JSON object"),
        RejectionReason.TOO_DEEP: N_("Nested too deeply"),
        RejectionReason.NO_ACCOUNT: N_("Names no account"),
        RejectionReason.UNKNOWN_TYPE: N_("Type is not known"),
        RejectionReason.HANDLER_ERROR: N_("The router failed on it"),
    },
    Scope: {
        Scope.READ: N_("Read"),
        Scope.REPLAY: N_("Replay"),
        Scope.MANAGE: N_("Manage"),
        Scope.ADMIN: N_("Administration"),
    },
}

TONES: Final[Mapping[type[StrEnum], Mapping[StrEnum, Tone]]] = {
    WebhookState: {
        WebhookState.ACTIVE: "good",
        WebhookState.PAUSED: "pause",
        WebhookState.SUSPENDED: "bad",
        WebhookState.INVALID: "bad",
    },
    DeliveryStatus: {
        DeliveryStatus.PENDING: "wait",
        DeliveryStatus.DELIVERED: "good",
        DeliveryStatus.FAILED: "bad",
        DeliveryStatus.EXPIRED: "warn",
        DeliveryStatus.CANCELLED: "idle",
    },
    Verdict: {Verdict.MATCHED: "good"},
    ReplayState: {
        ReplayState.RUNNING: "wait",
        ReplayState.DONE: "good",
        ReplayState.CANCELLED: "idle",
    },
}
"""What is not here is neither good nor bad."""

REMEDIES: Final[Mapping[StrEnum, str]] = {
    AttemptError.TIMEOUT: N_("The server should answer 2xx as soon as it has the event, and do its work afterwards."),
    AttemptError.CONNECT_TIMEOUT: N_("Check that the server runs and that its firewall lets our addresses through."),
    AttemptError.CONNECTION_REFUSED: N_("Check that the server runs and listens on this port."),
    AttemptError.CONNECTION_RESET: N_("Look into the server's log at this time; a proxy or firewall may cut it off."),
    AttemptError.DNS: N_("Check the host in the URL, and that its DNS entry exists."),
    AttemptError.TLS: N_("Check that the certificate is valid, fits the host and comes with its whole chain."),
    AttemptError.REDIRECT: N_("Redirects are not followed: enter the final address as the URL."),
    AttemptError.HTTP_STATUS: N_("Look at the answer and into the server's log: it received the event and refused it."),
    AttemptError.BLOCKED_ADDRESS: N_("The URL leads to a private or forbidden address; an operator can allow it."),
    AttemptError.PROTOCOL: N_("Check that the URL leads to an HTTP server, and to its port for https."),
    AttemptError.OTHER: N_("The log of the router says more about this time."),
}
"""What helps against an error of an attempt."""


class Labels:
    """What templates know as `label`: the words in one language."""

    def __init__(self, language: Language) -> None:
        self._language = language

    def __call__(self, value: StrEnum) -> str:
        """The word for a value of the domain."""
        return self._language.gettext(LABELS[type(value)][value])

    def tone(self, value: StrEnum) -> Tone:
        return TONES.get(type(value), {}).get(value, "idle")

    def remedy(self, error: AttemptError) -> str:
        return self._language.gettext(REMEDIES[error])

    def rejection(self, reason: str) -> str:
        """Why a message was rejected; reasons are kept as text, and older versions may have had others."""
        return self(RejectionReason(reason)) if reason in list(RejectionReason) else reason
