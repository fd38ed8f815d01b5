"""What the code under test asks of AWS: each call recorded, and some answered by us instead."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from local.in_memory import FunctionDiedError

if TYPE_CHECKING:
    import boto3

Params = dict[str, Any]
Answer = dict[str, Any]


@dataclass
class AwsCalls:
    """The calls of one boto3 session, in order, with their parameters."""

    made: list[tuple[str, Params]] = field(default_factory=list[tuple[str, Params]])
    _answers: list[Callable[[str, Params], Answer | None]] = field(
        default_factory=list[Callable[[str, Params], "Answer | None"]]
    )

    _deadly: set[str] = field(default_factory=set[str])

    def watch(self, session: "boto3.Session") -> None:
        """Record every call of the session's clients from now on."""
        session.events.register("before-parameter-build", self._record)
        # A handler that returns a response takes the call over; the stubs have handlers return nothing.
        session.events.register("before-call", cast("Callable[..., None]", self._answer))
        session.events.register("after-call", self._die)

    def counts(self) -> dict[str, int]:
        """Return how often each operation was called."""
        return dict(Counter(operation for operation, _ in self.made))

    def of(self, operation: str) -> list[Params]:
        """Return the parameters of each call of an operation."""
        return [params for made, params in self.made if made == operation]

    def answer(self, operation: str, answer: Callable[[Params], Answer | None]) -> None:
        """Answer calls of an operation; where the answer is None, the call goes through."""
        self._answers.append(lambda made, params: answer(params) if made == operation else None)

    def fail(self, operation: str, code: str, when: Callable[[Params], bool] = lambda _: True) -> None:
        """Let calls of an operation fail with an error code."""
        error = {"Error": {"Code": code, "Message": "injected"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
        self.answer(operation, lambda params: error if when(params) else None)

    def die_before(self, operation: str) -> None:
        """Let the function die when it first comes to call an operation."""

        def die(_: Params) -> None:
            raise FunctionDiedError(operation)

        self.answer(operation, die)

    def die_after(self, operation: str) -> None:
        """Let the function die when its first call of an operation has taken effect."""
        self._deadly.add(operation)

    def forget(self) -> None:
        """Drop what was recorded and answer nothing any more."""
        self.made.clear()
        self._answers.clear()
        self._deadly.clear()

    def _record(self, params: Params, model: Any, context: Params, **_: object) -> None:
        recorded = dict(params)
        self.made.append((model.name, recorded))
        context["recorded_params"] = recorded

    def _answer(self, model: Any, context: Params, **_: object) -> tuple[SimpleNamespace, Answer] | None:
        for answer in self._answers:
            if (answered := answer(model.name, context["recorded_params"])) is not None:
                status = answered.get("ResponseMetadata", {}).get("HTTPStatusCode", 200)
                return SimpleNamespace(status_code=status), answered
        return None

    def _die(self, model: Any, **_: object) -> None:
        if model.name in self._deadly:
            raise FunctionDiedError(model.name)
