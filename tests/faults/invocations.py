"""Invocations that take turns at their calls, so that a seed determines every interleaving of them."""

import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from local.in_memory import Call, Fault, FunctionDiedError


class InlineExecutor(Executor):
    """Runs each task when it is submitted. An invocation then has one thread, and makes its calls in a fixed order."""

    def __init__(self, _: int = 1) -> None:
        """Accept the number of threads of ThreadPoolExecutor."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run a task, and return its result as a future that is done."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as exc:  # noqa: BLE001 - the future raises it where the task is waited for
            future.set_exception(exc)
        return future


class Invocation:
    """An invocation of a function in a thread that stops before each of its calls until `step` lets it continue.

    `environment` has the clients of its execution environment. `deadline` is the time at which Lambda ends it.
    `result` and `error` are set once `is_done`. An invocation that died has neither.
    """

    def __init__(self, act: Callable[[], Any], environment: Any, deadline: float) -> None:
        self.environment = environment
        self.deadline = deadline
        self.call: Call | None = None
        self.result: Any = None
        self.error: Exception | None = None
        self.is_done = False
        self._act = act
        self._decision: Fault | None = None
        self._is_dead = False
        self._continue = threading.Semaphore(0)
        self._stopped = threading.Semaphore(0)
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def succeeded(self) -> bool:
        """Whether the invocation has ended without an error."""
        return self.is_done and self.error is None and not self._is_dead

    def start(self) -> None:
        """Run up to the first call."""
        self._thread.start()
        self._stopped.acquire()

    def step(self, fault: Fault | None) -> None:
        """Make the call before which the invocation stopped, with a fault or without, and run up to the next one."""
        if self.is_done:
            message = "the invocation has ended, so it makes no further call"
            raise RuntimeError(message) from self.error
        self._decision = fault
        self._continue.release()
        self._stopped.acquire()
        if self.is_done:
            self._thread.join()

    def wait(self, call: Call) -> Fault | None:
        """Stop before a call, and return its fault. The thread of the invocation calls this."""
        if self._is_dead:
            # A crash ends the function, so that handlers of the exception cannot make further calls.
            return Fault("die")
        self.call = call
        self._stopped.release()
        self._continue.acquire()
        self._is_dead = self._decision is not None and self._decision.kind == "die"
        return self._decision

    def _run(self) -> None:
        try:
            self.result = self._act()
        except FunctionDiedError:
            self._is_dead = True
        except Exception as exc:  # noqa: BLE001 - the schedule repeats the invocation
            self.error = exc
        finally:
            self.is_done = True
            self._stopped.release()
