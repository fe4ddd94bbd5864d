"""What of a library written in Rust that panics? One line, as of any other input that it cannot use.

pyo3 raises ``PanicException``, which is no ``Exception``, after Rust's hook wrote the panic to file descriptor 2:
https://docs.rs/pyo3/latest/pyo3/panic/struct.PanicException.html.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from vlmplan.errors import InputError, one_line


def is_panic(error: BaseException) -> bool:
    """Whether an error is a panic of Rust code: each library has a class of its own, of this name."""
    return type(error).__name__ == "PanicException" and not isinstance(error, Exception)


@contextmanager
def stderr_held(*, show: bool = True) -> Iterator[None]:
    """Hold what is written to file descriptor 2 within; show it afterwards, but of a panic or without ``show``."""
    sys.stderr.flush()
    try:
        shown = os.dup(2)
    except OSError:  # closed by the caller
        shown = os.open(os.devnull, os.O_WRONLY)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException as error:
            show = show and not is_panic(error)
            raise
        finally:
            sys.stderr.flush()
            os.dup2(shown, 2)
            os.close(shown)
            held.seek(0)
            if show and (said := held.read()):
                os.write(2, said)


@contextmanager
def panics_refused(where: str) -> Iterator[None]:
    """Raise InputError, which begins with ``where``, for a panic within; what its hook wrote is not shown."""
    try:
        with stderr_held():
            yield
    except BaseException as error:
        if not is_panic(error):
            raise
        raise InputError(f"{where}: the tokenizer cannot be used, its library panics ({one_line(error)})") from None
