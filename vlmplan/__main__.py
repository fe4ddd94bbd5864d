"""The process boundary: start the command line, and end well when interrupted or when output cannot be written."""

import errno
import gc
import io
import os
import sys
import traceback


class _Stderr(io.TextIOWrapper):
    """What cannot be said, on a full disk or to nobody, is lost; the answer and its exit code are not."""

    def _lost(self) -> None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())

    def write(self, text: str) -> int:
        """Write, or send this and all that follows nowhere."""
        try:
            return super().write(text)
        except OSError:
            self._lost()
            return len(text)

    def flush(self) -> None:
        """As ``write``."""
        try:
            super().flush()
        except OSError:
            self._lost()


def _told(error: BaseException) -> None:
    """Say what a bug raised, whose traceback may hold text of others; a panic of Rust code ends here."""
    from vlmplan import inert
    from vlmplan.errors import one_line
    from vlmplan.panics import is_panic
    from vlmplan.secret import hidden, tokens_at_hand

    if is_panic(error):
        said = inert.terminal(one_line(error))
        sys.stderr.write(f"vlmplan: error: a library panics at what it was given ({said})\n")
        os._exit(2)
    told = [hidden(line, *tokens_at_hand()) for line in traceback.format_exc().splitlines()]
    sys.stderr.write("".join(f"{inert.terminal(line)}\n" for line in told))


def _failed(error: OSError) -> str:
    """What to do about an error of the system that no command saw."""
    if error.errno == errno.ENOENT:
        return f"the folder it runs in cannot be read ({error.strerror}); change to one that exists"
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f"output cannot be written ({error.strerror}); {'free some space' if full else 'choose another place'}"


def main() -> None:
    """Run ``vlmplan``; the imports are inside so that Ctrl-C during them is also an interruption, not a traceback."""
    os.environ["RUST_BACKTRACE"] = "0"  # tokenizers, which panics at odd files, would print a hundred lines
    gc.disable()  # a planning run is short and keeps nearly all it makes: collecting costs a tenth of it
    if sys.stderr is None:  # closed by the caller, as in 2>&-: what would be said there is lost, the answer is not
        sys.stderr = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - to the end of the process
    else:
        sys.stderr = _Stderr(sys.stderr.buffer, sys.stderr.encoding, sys.stderr.errors, line_buffering=True)
    if sys.stdout is None:  # the command line refuses what would be lost, once it knows what was asked
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115 - as above
    elif isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a stream may not know a letter of a name or an answer
    try:
        from vlmplan.cli.app import app

        app()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    except BrokenPipeError:
        os._exit(141)
    except OSError as error:  # a full disk behind stdout; files that users name are handled where they are opened
        sys.stderr.write(f"vlmplan: error: {_failed(error)}\n")
        os._exit(2)
    except SystemExit:
        raise
    except BaseException as error:
        if isinstance(error.__cause__, KeyboardInterrupt):  # in a class body, which Python 3.11 calls a RuntimeError
            sys.stderr.write("interrupted\n")
            os._exit(130)
        _told(error)
        os._exit(1)
    finally:
        gc.freeze()  # an end of the process looks for garbage among all that a plan made: an eighth of the whole


if __name__ == "__main__":
    main()
