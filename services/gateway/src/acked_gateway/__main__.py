"""Entry point of the gateway: `python -m acked_gateway`."""

import sys

from acked_common.http.server.serve import serve
from acked_common.runtime import failpoints
from acked_common.runtime.env import SettingsError
from acked_common.runtime.logs import set_up_logs
from acked_gateway.app import create_app
from acked_gateway.feed.frames import MAX_FRAME_BYTES
from acked_gateway.feed.session import FEED_PATH
from acked_gateway.settings import read_settings


def main() -> int:
    """Run the gateway until it stops. Return the exit code."""
    try:
        settings = read_settings()
    except SettingsError as error:
        print(f"acked-gateway: {error}", file=sys.stderr)  # noqa: T201 - logs are not set up yet
        return 2
    set_up_logs("acked-gateway", settings.common.log_level)
    failpoints.arm(settings.common.crash)
    app = create_app(settings)
    serve(
        app,
        title="acked-gateway",
        listen=settings.common.listen,
        port=settings.port,
        limits=settings.http,
        websocket_bytes={FEED_PATH: MAX_FRAME_BYTES},
        on_stop=app.state.stopping.set,
        cors=app.state.cors,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
