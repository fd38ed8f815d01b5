"""The exception that carries a rejection from the check that failed to the dead letter."""

from yorutsuke_common.schema import Reason


class Rejection(Exception):  # noqa: N818 - a rejection is an outcome, not an error
    """The reason and the detail of a line that becomes a dead letter. `RecordParser.parse` catches it."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
