"""`callback-endpoints`: list, show, define and operate the URLs that receive events."""

from collections.abc import Sequence
from typing import Annotated

import typer

from acked_cli.commands.options import Reason
from acked_cli.commands.submit import events_of
from acked_cli.invocation.verb import Cli, usage, verb
from acked_client import CallbackEndpoint, CallbackEndpointDefinition

_ALSO = ("header_names", "last_error", "revision", "made_at", "changed_at")

Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of an endpoint.")]
Url = Annotated[str, typer.Argument(metavar="URL", help="URL that receives the events.")]
On = Annotated[
    list[str] | None,
    typer.Option("--on", metavar="EVENT", help="succeeded, failed or cancelled; may be repeated. Default: all."),
]
Kinds = Annotated[
    list[str] | None, typer.Option("--kind", metavar="KIND", help="Only jobs of this kind; may be repeated.")
]
Headers = Annotated[
    list[str] | None,
    typer.Option("--header", metavar="NAME:VALUE", help="A header to send; may be repeated. Default: unchanged."),
]
NoHeaders = Annotated[bool, typer.Option("--no-headers", help="Remove all headers.")]


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    group = typer.Typer(rich_markup_mode=None)
    verb(group, "", is_group=True)(callback_endpoints)
    for name, function in (("show", show), ("put", put), ("enable", enable)):
        verb(group, name)(function)
    verb(group, "disable")(disable)
    verb(group, "delete")(delete)
    app.add_typer(group, name="callback-endpoints")


def callback_endpoints(cli: Cli, ctx: typer.Context) -> None:
    """List callback endpoints by name; show, define or operate one."""
    cli.writer.many("endpoint", cli.acked.callback_endpoints())


def show(cli: Cli, name: Name) -> None:
    """Show a callback endpoint.

    The values of its headers are never shown.
    """
    _show(cli, cli.acked.callback_endpoint(name))


def put(
    cli: Cli,
    name: Name,
    url: Url,
    on: On = None,
    kind: Kinds = None,
    header: Headers = None,
    no_headers: NoHeaders = False,
) -> None:
    """Define a callback endpoint, or replace its definition.

    acked callback-endpoints put billing https://example.com/hook --on failed
    """
    if header and no_headers:
        raise usage("--no-headers and --header exclude each other: use one of them")
    headers = {} if no_headers else _headers(header)
    definition = CallbackEndpointDefinition(url=url, events=events_of(on or ()), kinds=kind or (), headers=headers)
    _show(cli, cli.acked.put_callback_endpoint(name, definition))


def enable(cli: Cli, name: Name) -> None:
    """Enable a callback endpoint, also one that Acked has disabled.

    Jobs that were submitted while it was disabled do not concern it.
    """
    _show(cli, cli.acked.enable_callback_endpoint(name))


def disable(cli: Cli, name: Name, reason: Reason = None) -> None:
    """Send nothing to a callback endpoint until it is enabled."""
    _show(cli, cli.acked.disable_callback_endpoint(name, reason=reason))


def delete(cli: Cli, name: Name) -> None:
    """Delete a callback endpoint, and show it as it was.

    Nothing more is sent to it.
    """
    _show(cli, cli.acked.delete_callback_endpoint(name))


def _headers(given: Sequence[str] | None) -> dict[str, str] | None:
    if not given:
        return None
    found: dict[str, str] = {}
    for line in given:
        name, colon, value = line.partition(":")
        if not colon or not name.strip() or not value.strip():
            raise usage("--header is NAME:VALUE, such as 'authorization: Bearer …'")
        found[name.strip()] = value.strip()
    return found


def _show(cli: Cli, found: CallbackEndpoint) -> None:
    cli.writer.one("endpoint", found, also=_ALSO)
