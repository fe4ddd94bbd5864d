"""How long may a graph run that nobody vouches for? As long as its checkpoint takes, many times over, and some seconds.

A graph by others can be made slow: giant products, at every step or at some. Its runs share one allowance of seconds.
Where that is spent ONNX Runtime is told to stop, which it does between two operators
(``RunOptions.terminate``, https://onnxruntime.ai/docs/api/python/api_summary.html, read 2026-11-28). A run therefore
has a thread of its own: where one operator goes on for minutes, it is left behind.
"""

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import Any

from vlmplan.errors import InputError
from vlmplan.units import format_seconds

RUN_TIMEOUT_S = 300.0
# Times the rest of a comparison, most of which is the checkpoint's own runs in PyTorch. Six small decoders of
# onnxruntime-genai's builder, in fp32, fp16, int8 and int4, took at most 0.1 times as long (2 busy cores). A product of
# 8 bits with its activations as they are takes 22 times as long as PyTorch's for one token, as long for many.
MULTIPLE = 20.0
_GRACE_S = 5.0  # for the operator at which it was told to stop


class OutOfTime(InputError):  # noqa: N818 - as the other errors are named
    """A graph ran for longer than it was allowed."""


_Jobs = queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]]]


def _work(jobs: _Jobs) -> None:
    """Make calls one after another, for ever."""
    while True:
        made, call = jobs.get()
        try:
            made.set_result(call())
        except BaseException as error:
            made.set_exception(error)
        del made, call


class Allowance:
    """Seconds that an accused graph's runs may take together: ``timeout_s``, and ``MULTIPLE`` times all else.

    What else is done meanwhile is the comparison: the checkpoint's own runs, and arithmetic on what came out. Its
    length is set by the checkpoint, not by the accused.
    """

    def __init__(self, timeout_s: float = RUN_TIMEOUT_S) -> None:
        """The clock runs from now on."""
        self.timeout_s, self._granted_s, self._spent_s = timeout_s, timeout_s, 0.0
        self._started = time.monotonic()
        self._jobs: _Jobs = queue.SimpleQueue()
        self._worker: threading.Thread | None = None

    @property
    def _whole_s(self) -> float:
        """All that is allowed so far."""
        return self._granted_s + MULTIPLE * (time.monotonic() - self._started - self._spent_s)

    def grant(self, times: int) -> None:
        """Add the timeout so many times: for runs that nothing of the checkpoint's goes with."""
        self._granted_s += times * self.timeout_s

    def call(self, what: str, call: Callable[[], Any], stop: Callable[[], None] = lambda: None) -> Any:
        """Return what a call returns, or raise what it raises; OutOfTime where the allowance is spent first.

        ``stop`` asks it to end, from another thread.
        """
        started, whole_s = time.monotonic(), self._whole_s
        made: Future[Any] = Future()
        if self._worker is None:
            self._worker = threading.Thread(target=_work, args=(self._jobs,), daemon=True, name="accused graph")
            self._worker.start()
        self._jobs.put((made, call))
        try:
            in_time = bool(wait([made], max(0.0, whole_s - self._spent_s)).done)
            if not in_time:
                stop()
                if not wait([made], _GRACE_S).done:
                    self._worker, self._jobs = None, queue.SimpleQueue()  # left behind, with the operator it is at
        finally:
            self._spent_s += time.monotonic() - started
        if not in_time:
            raise OutOfTime(
                f"{what} was stopped: its runs took {format_seconds(self._spent_s)}, allowed are "
                f"{format_seconds(whole_s)} ({MULTIPLE:g} times what the checkpoint takes, and "
                f"{format_seconds(self._granted_s)}); --timeout raises it"
            )
        return made.result()


class LimitedSession:
    """A session of ONNX Runtime whose runs end where an allowance does; all else is the session's own."""

    def __init__(self, session: Any, what: str, allowance: Allowance) -> None:
        """``what`` it is of, in a message."""
        self._session, self._what, self._allowance = session, what, allowance

    def __getattr__(self, name: str) -> Any:
        """What the session has."""
        return getattr(self._session, name)

    def run(self, names: list[str], feeds: dict[str, Any]) -> Any:
        """As the session's own. Raises OutOfTime where that takes too long."""
        return self._limited(lambda options: self._session.run(names, feeds, options))

    def run_with_iobinding(self, binding: Any) -> None:
        """As the session's own. Raises OutOfTime where that takes too long."""
        self._limited(lambda options: self._session.run_with_iobinding(binding, options))

    def _limited(self, run: Callable[[Any], Any]) -> Any:
        import onnxruntime

        options = onnxruntime.RunOptions()
        return self._allowance.call(self._what, lambda: run(options), lambda: setattr(options, "terminate", True))
