"""Whose turn it is: webhooks that have something to send, served in turn by account and, within one, by webhook.
A plain data structure; touches nothing.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from router.domain.event import AccountId
from router.domain.webhook import WebhookId


class Ring:
    """Webhooks in the order in which they are served: an account with a thousand has as many turns as one with one."""

    def __init__(self) -> None:
        self._accounts: OrderedDict[AccountId, deque[WebhookId]] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._accounts)

    def push(self, account_id: AccountId, webhook_id: WebhookId) -> None:
        """To the end of its account's webhooks; an account that was not there comes last."""
        self._accounts.setdefault(account_id, deque()).append(webhook_id)

    def pop(self) -> WebhookId:
        """The next one, and its account goes to the end. Raises KeyError where there is none."""
        account_id, webhooks = self._accounts.popitem(last=False)
        webhook_id = webhooks.popleft()
        if webhooks:
            self._accounts[account_id] = webhooks
        return webhook_id
