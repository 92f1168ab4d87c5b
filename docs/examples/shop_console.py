"""Run the calls of a shop, one a line of JSON: `python shop_console.py celery_app`, or `celery_twin`.

    {"call": "quote", "with": {"prices": [1, 2]}}

It prints what the call returns, as JSON. The test of both shops speaks to it, and to nothing else of them.
"""

import importlib
import json
import sys
from pathlib import Path


def main(folder: str) -> None:
    """Serve the standard input until its end."""
    sys.path.insert(0, str(Path(__file__).with_name(folder)))
    shop = importlib.import_module("shop")
    for line in sys.stdin:
        asked = json.loads(line)
        if asked["call"] not in shop.CALLS:
            raise SystemExit(f"{asked['call']} is none of {', '.join(shop.CALLS)}")
        print(json.dumps(getattr(shop, asked["call"])(**asked["with"])), flush=True)  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1])
