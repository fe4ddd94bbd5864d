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
def panics_refused(where: str) -> Iterator[None]:
    """Raise InputError, which begins with ``where``, for a panic within; what its hook wrote is not shown.

    All else that is written to stderr meanwhile is shown afterwards.
    """
    sys.stderr.flush()
    try:
        shown = os.dup(2)
    except OSError:  # closed by the caller
        shown = os.open(os.devnull, os.O_WRONLY)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        panicked = False
        try:
            yield
        except BaseException as error:
            if not (panicked := is_panic(error)):
                raise
            raise InputError(f"{where}: the tokenizer cannot be used, its library panics ({one_line(error)})") from None
        finally:
            sys.stderr.flush()
            os.dup2(shown, 2)
            os.close(shown)
            held.seek(0)
            if not panicked and (said := held.read()):
                os.write(2, said)
