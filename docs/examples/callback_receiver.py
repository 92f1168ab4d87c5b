"""Print the callbacks that Acked sends to this machine, each verified: `python callback_receiver.py secret.json`.

The file is the output of `acked callback-secrets make -o json`. A second argument is the port, by default 9000.
"""

import json
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError


class Receiver(BaseHTTPRequestHandler):
    """Respond with 204 to what is signed, and with 400 to anything else."""

    webhook: Webhook

    def do_POST(self) -> None:
        """Verify one call, and print its event as a line of JSON."""
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            event = self.webhook.verify(body, headers)
        except WebhookVerificationError as error:
            self.send_error(400, str(error))
            return
        self.send_response(204)
        self.end_headers()
        print(json.dumps(event), flush=True)  # noqa: T201


def main(file: str, port: str = "9000") -> None:
    """Receive until Ctrl-C."""
    with open(file) as opened:  # noqa: PTH123 - the usual way in a small program
        Receiver.webhook = Webhook(json.load(opened)["secret"])
    print(f"receiving at http://127.0.0.1:{port}", file=sys.stderr, flush=True)  # noqa: T201
    HTTPServer(("127.0.0.1", int(port)), Receiver).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
