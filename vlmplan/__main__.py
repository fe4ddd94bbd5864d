"""The process boundary: start the command line, and end with 130 when interrupted, wherever that happens."""

import gc
import sys


def main() -> None:
    """Run ``vlmplan``; the imports are inside so that Ctrl-C during them is also an interruption, not a traceback."""
    gc.disable()  # a planning run is short and keeps nearly all it makes: collecting costs a tenth of it
    try:
        from vlmplan.cli import app

        app()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)


if __name__ == "__main__":
    main()
