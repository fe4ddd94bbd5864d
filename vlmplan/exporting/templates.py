"""What does a chat template write? Messages rendered in a process beside this one, which can be ended.

A template is a program of a checkpoint's author: it may loop without end, recurse until the stack is full, or ask for
more memory than there is, within one operation that no signal interrupts. A process is forked once for each
processor or tokenizer; what it costs after that is a message to and fro.
"""

import contextlib
import gc
import json
import os
import pickle
import select
import signal
import time
import warnings
import weakref
from pathlib import Path
from typing import Any

from vlmplan.errors import InputError, one_line
from vlmplan.units import format_bytes

RENDER_S = 6.0  # a template of the longest real conversations takes milliseconds
_MORE_BYTES = 2**30  # of address space beyond what the process has
_LONGEST = 2**24  # characters of a rendering
_HEAD_BYTES = 8  # of a message: its length


class EndlessTemplate(InputError):  # noqa: N818
    """A chat template takes too long, too much memory, or ends the process that renders it."""


class _Renderer:
    """A forked process that renders with one processor or tokenizer until it is ended."""

    def __init__(self, processor: Any) -> None:
        """Fork; the process keeps the two pipes and nothing else that is open."""
        self.owner, self.template = os.getpid(), getattr(processor, "chat_template", None)
        theirs, self._asks = os.pipe()
        self._answers, ours = os.pipe()
        with warnings.catch_warnings(action="ignore"):  # Python warns of threads: none of them renders
            self._child: int | None = os.fork()
        if not self._child:
            gc.disable()  # garbage is the parent's: a session of ONNX Runtime in it waits for threads not forked
            _serve(processor, theirs, ours)
        os.close(theirs)
        os.close(ours)

    def end(self) -> None:
        """End the process, whatever it does."""
        if self.owner != os.getpid() or self._child is None:
            return
        child, self._child = self._child, None
        os.close(self._asks)
        os.close(self._answers)
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    def render(self, messages: Any, options: dict[str, Any]) -> Any:
        """Return what the processor answers: a text, or a table with ``error``. Raises EndlessTemplate."""
        due = time.monotonic() + RENDER_S
        asked = pickle.dumps((messages, options))
        try:
            os.write(self._asks, len(asked).to_bytes(_HEAD_BYTES))
            view = memoryview(asked)
            while view:
                view = view[os.write(self._asks, view) :]
            size = int.from_bytes(self._read(_HEAD_BYTES, due))
            return json.loads(self._read(size, due))
        except (EOFError, BrokenPipeError):
            raise EndlessTemplate("the chat template cannot be used: it ends the process that renders it") from None
        except TimeoutError:
            raise EndlessTemplate(
                f"the chat template cannot be used: it is not done after {RENDER_S:g} s, expected milliseconds; take "
                "another checkpoint, or mend its chat_template"
            ) from None

    def _read(self, size: int, due: float) -> bytes:
        """So many bytes of the answer. Raises TimeoutError, or EOFError where the process is gone."""
        received = bytearray()
        while len(received) < size:
            if not select.select([self._answers], [], [], max(0.0, due - time.monotonic()))[0]:
                raise TimeoutError
            part = os.read(self._answers, min(size - len(received), 2**20))
            if not part:
                raise EOFError
            received += part
        return bytes(received)


def _serve(processor: Any, asks: int, answers: int) -> None:
    """Answer until nobody asks. Never returns: what is to be done at the end of a process is the parent's."""
    status = 1
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends this process
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(nothing, standard)
        for open_ in map(int, os.listdir("/dev/fd")):  # noqa: PTH208 - names alone
            if open_ > 2 and open_ not in (asks, answers):
                with contextlib.suppress(OSError):
                    os.close(open_)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        _limit_memory()
        with os.fdopen(asks, "rb") as asked:
            while head := asked.read(_HEAD_BYTES):
                messages, options = pickle.loads(asked.read(int.from_bytes(head)))
                signal.alarm(2 * int(RENDER_S))  # for the case that the parent is not there any more to end it
                said = json.dumps(_rendered(processor, messages, options)).encode()
                signal.alarm(0)
                for part in (len(said).to_bytes(_HEAD_BYTES), said):
                    view = memoryview(part)
                    while view:
                        view = view[os.write(answers, view) :]
        status = 0
    finally:
        os._exit(status)


def _limit_memory() -> None:
    """Let this process have a little more memory than it has, where the system tells how much that is."""
    import resource

    with contextlib.suppress(OSError, ValueError):
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        most = pages * os.sysconf("SC_PAGESIZE") + _MORE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _rendered(processor: Any, messages: Any, options: dict[str, Any]) -> Any:
    """What a processor writes, or the error it raised: a template raises what it likes, or says to."""
    try:
        text = str(processor.apply_chat_template(messages, **options))
    except MemoryError:
        return {"error": f"it asks for more than {format_bytes(_MORE_BYTES)} of memory"}
    except Exception as error:
        return {"error": one_line(error) or type(error).__name__}
    return text if len(text) <= _LONGEST else {"error": f"it writes {len(text)} characters, most are {_LONGEST}"}


_RENDERERS: "weakref.WeakKeyDictionary[Any, _Renderer]" = weakref.WeakKeyDictionary()


def templated(processor: Any, messages: list[dict[str, Any]], **options: Any) -> str:
    """Return messages as a processor's or tokenizer's chat template writes them.

    Raises InputError where it fails, or says to, and EndlessTemplate where it would not end.
    """
    renderer = _RENDERERS.get(processor)
    here = (os.getpid(), getattr(processor, "chat_template", None))
    if renderer is None or (renderer.owner, renderer.template) != here:
        renderer = _RENDERERS[processor] = _Renderer(processor)
        weakref.finalize(processor, renderer.end)
    try:
        rendered = renderer.render(messages, options)
    except BaseException:  # interrupted, too: what it still has to say belongs to no later question
        _RENDERERS.pop(processor, None)
        renderer.end()
        raise
    if isinstance(rendered, dict):
        raise InputError(f"the chat template cannot be used ({rendered['error']})")
    return str(rendered)
