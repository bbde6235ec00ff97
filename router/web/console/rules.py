"""What a form may be told is wrong, by the rules of the domain: they speak English, and readers may not. Pure.

A rule is its own message id. Where it holds a value, a pattern says where; a rule that is not here is shown in English.
"""

from __future__ import annotations

import re
from typing import Final

from router.web.console.language import N_, Language

RULES: Final = (
    # names and ids
    N_("must have 1 to 200 characters"),
    N_("must be one line of text without control characters"),
    N_("must be a string that is not empty"),
    N_("must have at most 1024 characters, and no control characters"),
    N_("must be printable, without blanks around it"),
    N_("must be call, cdr or user"),
    N_("must be true or false"),
    # restrictions
    N_("is no phone number"),
    N_("must be a list with at least one number"),
    N_("holds at most 10000 numbers"),
    N_("goes with call and cdr; a user webhook takes user_id"),
    N_("goes with user; a call or cdr webhook takes tracking_numbers"),
    N_("must be null, {tracking_numbers: […]} or {user_id: …}"),
    # URLs
    N_("must begin with https://"),
    N_("this address is not allowed"),
    N_("a URL has 1 to 2048 characters"),
    N_("a URL is ASCII: an international host is written xn--…, everything else percent-encoded"),
    N_("a URL holds no blanks, backslashes and control characters"),
    N_("the URL has brackets in its host, but no IPv6 address in them"),
    N_("a URL begins with https:// (or http://)"),
    N_("a URL must not hold a user name or password; use headers"),
    N_("a host is written without percent signs"),
    N_("the URL has no valid host and port"),
    N_("the port of a URL is 1 to 65535"),
    N_("the host looks like an IP address, but is none in its usual form"),
    N_("a host has letters, digits, '-' and '_', in parts of 1 to 63 with dots between"),
    N_("the URL is not https; egress.require_https = false permits it"),
    N_("the address is not public; egress.allow can permit its network"),
    N_("the name leads into a private network; egress.allow can permit that network"),
    # headers and signatures
    N_("a name is not an HTTP token"),
    N_("must be an object of at most 50 names and values"),
    N_("names and values together have at most 16384 characters"),
    N_("cannot be beside a header authorization, which it sets: take one of them away"),
    N_("goes with an https URL"),
    N_("certificate has expired"),
    N_("must be a number of seconds from 0 to 2592000"),
    # replays
    N_("must be printable and at most 200 characters long"),
    N_("must not hold a phone number: it is kept in the audit trail; name a ticket instead"),
    N_("must be before to, and in the past"),
    N_("must be at most 92 days before to"),
    N_("must be a date and time"),
    N_("must be from 0.1 to 100"),
    N_("must be at most 200"),
    N_("needs one condition at least: everything is too much"),
    N_("is required with missing"),
    N_("belongs to another account than account_id"),
    N_("matches more than 100000: narrow it down"),
    N_("its webhook was deleted"),
    N_("its payload is gone: it is kept for a limited time, or it was erased"),
    N_("it was attempted 1000 times, which is the most that its log holds"),
)
"""Those that say the same every time."""

PATTERNS: Final = tuple(
    (re.compile(pattern), message)
    for pattern, message in (
        (r"(?P<name>\S+) cannot be set", N_("%(name)s cannot be set")),
        (
            r"it is pending, and a worker holds it at this moment(?:; its next attempt is at \S+)?",
            N_("it is being attempted at this moment; look again in a while"),
        ),
        (
            r"the definition of webhook (?P<id>\S+) is wrong, so nothing is sent to it: (?P<why>.+)",
            N_("the definition of webhook %(id)s is wrong, so nothing is sent to it: %(why)s"),
        ),
        (r"(?P<name>\S+) is there twice; case makes no difference", N_("%(name)s is there twice")),
        (r"the value of (?P<name>\S+) must be printable ASCII text", N_("the value of %(name)s must be plain ASCII")),
        (r"the value of (?P<name>\S+) has more than (?P<most>\d+) characters", N_("the value of %(name)s is too long")),
        (
            r"\*\*\* stands for a stored value, and (?P<name>\S+) has none that can be read",
            N_("*** stands for a stored value, and there is none for %(name)s"),
        ),
        (
            r"port (?P<port>\d+) is in egress\.deny_ports; .*",
            N_("port %(port)s is never dialled (egress.deny_ports); an entry of egress.allow can permit it"),
        ),
    )
)
"""Those that hold a value, by what they look like."""


def translate_rule(language: Language, rule: str) -> str:
    """A rule in the reader's language, or in English where it is not known."""
    for pattern, message in PATTERNS:
        match = pattern.fullmatch(rule)
        if match is not None:
            return language.gettext(message, **match.groupdict())
    return language.messages.get(rule, (rule,))[0]
