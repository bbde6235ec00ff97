"""The error root of the project. Every exception that we raise on purpose descends from RouterError."""


class RouterError(Exception):
    """Something that the program expected to be possible went wrong; the text is one clear sentence.

    `seen` is what was seen of it, where that can be told apart from the sentence; the text ends with it.
    """

    def __init__(self, sentence: str = "", *, seen: str = "") -> None:
        super().__init__(f"{sentence} ({seen})" if seen else sentence)
        self.sentence = sentence
        self.seen = seen


class DependencyUnavailable(RouterError):
    """RabbitMQ or MongoDB cannot be reached now; trying later may help (exit code 69 at start)."""


class ConfigurationRefused(RouterError):
    """A peer refuses what the configuration asks for; only an operator can help (exit code 78)."""


class Conflict(RouterError):
    """Others change the same thing at the same moment; what was asked for was not done and may be asked for again."""


class Outdated(Conflict):
    """What somebody wants to change is no longer what they have seen; to be read again before it is changed."""


class InvalidInput(RouterError):
    """A value from outside breaks a rule. `field` names it in the caller's words."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class NotAllowed(InvalidInput):
    """A value from outside is right in itself, and a policy of the operator's refuses it.

    `message` names the rule and the setting that would permit it; `told_outside` is what a customer may know.
    """

    def __init__(self, field: str, message: str, *, told_outside: str) -> None:
        super().__init__(field, message)
        self.told_outside = told_outside


class OutOfSight(RouterError):
    """What was asked for is another account's, or nobody's. Whoever asks must not learn whether it exists."""
