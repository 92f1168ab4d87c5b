"""Arguments and options that several verbs have."""

from typing import Annotated

import typer

JobId = Annotated[str, typer.Argument(metavar="ID", help="The id of a job.")]
JobIds = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of jobs.")]
Kind = Annotated[str, typer.Argument(metavar="KIND", help="The name of a kind.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the end.")]
Timeout = Annotated[
    str | None, typer.Option("--timeout", metavar="DURATION", help="With --wait: the longest wait. Default: no limit.")
]
Reason = Annotated[str | None, typer.Option("--reason", help="Why; it stands in the audit.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, metavar="N", help="The most entries of the list.")]
ListAll = Annotated[bool, typer.Option("--all", help="The whole list.")]
LIMIT = 50
