"""Names that users hold stay: a new one is noted in public_names.txt, and none goes or gets another name."""

from support.public_names import COMMAND, noted, public_names


async def test_no_public_name_is_gone() -> None:
    gone = sorted(noted() - await public_names())
    assert not gone, (
        "programs, settings, dashboards or scripts of users hold these names; bring them back, and where a better name "
        "is wanted, let it mean the same beside the old one:\n  " + "\n  ".join(gone)
    )


async def test_every_public_name_is_noted() -> None:
    new = sorted(await public_names() - noted())
    assert not new, (
        f"these names become public and stay; where that is meant, note them with: {COMMAND}\n  " + "\n  ".join(new)
    )


async def test_the_list_holds_names_of_every_sort() -> None:
    sorts = {name.partition(" ")[0] for name in await public_names()}
    assert sorts == {
        *("route", "operation", "parameter", "header", "response", "field", "problem", "state", "reason", "permission"),
        *("setting", "recipe", "metric", "queue", "exchange", "import", "handler", "kind"),
    }
