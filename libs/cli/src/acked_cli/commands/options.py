"""Arguments and options that several verbs have."""

from typing import Annotated

import typer

JobId = Annotated[str, typer.Argument(metavar="ID", help="The id of a job.")]
JobIds = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of jobs.")]
Kind = Annotated[str, typer.Argument(metavar="KIND", help="The name of a kind.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait for the end.")]
Timeout = Annotated[
    str | None, typer.Option("--timeout", metavar="DURATION", help="With --wait: maximum wait. Default: no limit.")
]
Reason = Annotated[str | None, typer.Option("--reason", help="Reason, for the audit.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, metavar="N", help="Maximum of entries.")]
ListAll = Annotated[bool, typer.Option("--all", help="List all entries.")]
LIMIT = 50
