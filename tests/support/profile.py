"""What MongoDB did, by its own profiler."""

from typing import Any

from pymongo.database import Database

from acked_common.store.mongo.documents import Document

KEPT_BYTES = 32 * 2**20
"""MongoDB's own bound, 1 MiB, loses the oldest operations of a bulk action."""


class Profile:
    """The operations on some collections of one database."""

    def __init__(self, database: Database[dict[str, Any]], *collections: str) -> None:
        self._database = database
        self._names = [f"{database.name}.{name}" for name in collections]

    def start(self) -> None:
        """Forgets what was and profiles all operations from now on."""
        self._database.command("profile", 0)
        self._database["system.profile"].drop()
        self._database.create_collection("system.profile", capped=True, size=KEPT_BYTES)
        self._database.command("profile", 2)

    def stop(self) -> list[Document]:
        """The operations since the start, oldest first."""
        self._database.command("profile", 0)
        return list(self._database["system.profile"].find({"ns": {"$in": self._names}}))
