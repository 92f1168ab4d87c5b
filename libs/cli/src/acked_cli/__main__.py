"""`python -m acked_cli` is `acked`."""

import sys

from acked_cli.program import main

if __name__ == "__main__":
    sys.exit(main())
