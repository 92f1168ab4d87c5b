"""The program `acked`. It ends by the signal that ended it, as shells expect, and never with a traceback."""

import os
import signal
import sys

INTERRUPTED = 130
READER_GONE = 141


def main() -> int:
    """Run the command of this process and return its exit code."""
    # Recipes start programs with SIGINT ignored; this one is to be stopped.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        # Importing takes time, in which Ctrl-C may come.
        from acked_cli.app import run

        code = run(sys.argv[1:])
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        code = READER_GONE
    if code == INTERRUPTED:
        _end_by(signal.SIGINT)
    if code == READER_GONE:
        # What is still buffered has no reader: without this, Python would complain of it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _end_by(signal.SIGPIPE)
    return code


def _end_by(number: signal.Signals) -> None:
    """End this process by a signal, so that a shell ends the loop or the script around it too."""
    signal.signal(number, signal.SIG_DFL)
    signal.raise_signal(number)


if __name__ == "__main__":
    sys.exit(main())
