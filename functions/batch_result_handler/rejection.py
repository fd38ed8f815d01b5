"""Why a line was refused, on its way from where it was found out to the dead letters."""

from yorutsuke_common.schema import Reason


class Rejection(Exception):  # noqa: N818 - it is an outcome, not an error
    """A line that becomes a dead letter. It never leaves the reading of that line."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail
