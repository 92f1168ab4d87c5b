"""`attention`: list failed jobs by group of errors, and note who deals with a group."""

from typing import Annotated, TypeVar

import typer
from msgspec import UNSET, UnsetType

from acked_cli.commands.options import LIMIT, Limit, ListAll
from acked_cli.commands.pages import listed
from acked_cli.input.words import parse_duration_s
from acked_cli.invocation.verb import Cli, usage, verb

T = TypeVar("T")
OfKind = Annotated[str | None, typer.Option("--kind", help="Only groups of this kind.")]
Snoozed = Annotated[bool, typer.Option("--snoozed", help="Only snoozed groups.")]
Group = Annotated[str, typer.Argument(metavar="GROUP", help="A group, as acked attention lists it.")]
Comment = Annotated[str | None, typer.Option("--comment", help="A comment for other operators.")]
NoComment = Annotated[bool, typer.Option("--no-comment", help="Remove the comment.")]
Take = Annotated[
    bool | None,
    typer.Option("--take/--give-back", help="Show that you deal with it, or no longer.", show_default=False),
]
Snooze = Annotated[str | None, typer.Option("--snooze", metavar="DURATION", help="Hide it for so long.")]
NoSnooze = Annotated[bool, typer.Option("--no-snooze", help="Show it again.")]


def add_to(app: typer.Typer) -> None:
    """Register the verbs."""
    group = typer.Typer(rich_markup_mode=None)
    verb(group, "", is_group=True)(attention)
    verb(group, "note")(note)
    app.add_typer(group, name="attention")


def attention(
    cli: Cli,
    ctx: typer.Context,
    kind: OfKind = None,
    snoozed: Snoozed = False,
    limit: Limit = LIMIT,
    list_all: ListAll = False,
) -> None:
    """List failed jobs by group of errors; note who deals with one.

    Retry a group: acked retry --where 'error=GROUP'
    """
    listed(cli, "group", cli.acked.attention(kind=kind, snoozed=snoozed), None if list_all else limit)


def note(
    cli: Cli,
    group: Group,
    comment: Comment = None,
    no_comment: NoComment = False,
    take: Take = None,
    snooze: Snooze = None,
    no_snooze: NoSnooze = False,
) -> None:
    """Comment on a group, take it, or hide it for a while.

    What is not named stays: acked attention note GROUP --take --snooze 2h
    """
    if (comment is not None and no_comment) or (snooze is not None and no_snooze):
        raise usage("--comment excludes --no-comment, and --snooze excludes --no-snooze")
    found = cli.acked.note_attention(
        group,
        comment=_given(comment, is_removed=no_comment),
        taken=UNSET if take is None else take,
        snooze_s=_given(None if snooze is None else parse_duration_s(snooze), is_removed=no_snooze),
    )
    cli.writer.one("notes", found)


def _given(value: T | None, *, is_removed: bool) -> T | UnsetType | None:
    """Return what the client is passed: None removes what there is, and `UNSET` leaves it."""
    return UNSET if value is None and not is_removed else value
