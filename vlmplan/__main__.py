"""The process boundary: start the command line, and end well when interrupted or when output cannot be written."""

import gc
import os
import sys


def main() -> None:
    """Run ``vlmplan``; the imports are inside so that Ctrl-C during them is also an interruption, not a traceback."""
    gc.disable()  # a planning run is short and keeps nearly all it makes: collecting costs a tenth of it
    if sys.stdout is None or sys.stderr is None:  # closed by the caller, as in >&-
        os._exit(2)
    try:
        from vlmplan import cli, cli_demo, cli_deploy, cli_fit, cli_page, cli_profile, cli_recommend, cli_train  # noqa: F401 - register their commands

        cli.app()
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    except OSError as error:  # a full disk behind stdout; files that users name are handled where they are opened
        sys.stderr.write(f"vlmplan: error: output cannot be written ({error.strerror}); free some space\n")
        os._exit(2)


if __name__ == "__main__":
    main()
