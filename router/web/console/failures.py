"""Pages for what went wrong: what each status means to a reader and what helps. Values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from router.web.console.language import N_


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What a status means: a heading, what happened, what to do."""

    title: str
    text: str
    remedy: str


FAILURES: Final[Mapping[int, Failure]] = {
    400: Failure(
        title=N_("This request cannot be read"),
        text=N_("Something in the address or in the form is not as it must be."),
        remedy=N_("Go back and correct it, or start again from the list."),
    ),
    403: Failure(
        title=N_("You may not do this"),
        text=N_("The token that you signed in with does not allow it."),
        remedy=N_("Sign in with a token that has the scope, or ask an administrator for one."),
    ),
    404: Failure(
        title=N_("There is nothing here"),
        text=N_("The address is wrong, what it leads to was deleted, or it belongs to an account that you do not see."),
        remedy=N_("Search for it: call id, event id, delivery id, phone number or host all work."),
    ),
    405: Failure(
        title=N_("This address only takes forms"),
        text=N_("It does something, so it cannot be opened as a link."),
        remedy=N_("Go to the page that has the button."),
    ),
    409: Failure(
        title=N_("Somebody else was faster"),
        text=N_("Others change the same thing at this moment. Nothing was done."),
        remedy=N_("Load the page again, look at what changed, and repeat."),
    ),
    413: Failure(
        title=N_("That is too much at once"),
        text=N_("The form holds more than 1 MiB."),
        remedy=N_("Send less at once; longer lists go through the API."),
    ),
    415: Failure(
        title=N_("This request cannot be read"),
        text=N_("What was sent is no form of a page."),
        remedy=N_("Programs use the API under /v1."),
    ),
    429: Failure(
        title=N_("Too many requests"),
        text=N_("So many requests came from you that the next ones have to wait."),
        remedy=N_("Wait a few seconds, then load the page again."),
    ),
    500: Failure(
        title=N_("Something went wrong here"),
        text=N_("The page could not be made. The fault is ours; the log of the router says where."),
        remedy=N_("Try again. If it stays like this, tell the operators the time and this address."),
    ),
    503: Failure(
        title=N_("The store does not answer"),
        text=N_("Definitions and the log cannot be read right now. Events wait at the broker; none is lost."),
        remedy=N_("Wait a moment, then load the page again."),
    ),
}

FOREIGN_FORM: Final = Failure(
    title=N_("This form was not sent by our pages"),
    text=N_("It came from another site, or from a page of an older session. Nothing was done."),
    remedy=N_("Open the page here and send its form again."),
)


def failure_of(status: int) -> Failure:
    return FAILURES.get(status, FAILURES[500 if status >= 500 else 400])
