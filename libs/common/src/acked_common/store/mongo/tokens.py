"""`TokenStore` on MongoDB. Each active token of a client takes one of two places, so a race can't add a third."""

from datetime import datetime
from typing import Any

from bson.binary import Binary
from pymongo.errors import DuplicateKeyError

from acked_common.model.tokens import MOST_ACTIVE, REMEMBERED_FOR, TokenRecord, token_document, token_from
from acked_common.store.errors import StoreError
from acked_common.store.mongo.driver import Collection
from acked_common.store.mongo.errors import store_errors
from acked_common.store.tokens import MAX_TOKENS


class MongoTokens:
    """The tokens of one database."""

    def __init__(self, tokens: Collection) -> None:
        """`tokens` is the collection; its writes wait for a majority, its reads see one."""
        self._tokens = tokens

    async def add(self, record: TokenRecord) -> bool:
        whose = {"tenant": record.principal.tenant, "client": record.principal.client}
        document = {**token_document(record), "digest": Binary(record.digest)}
        with store_errors("keeping a token"):
            # An expired token holds its place until a new token needs it.
            expired = {**whose, "place": {"$exists": True}, "expires_at": {"$lte": record.made_at}}
            await self._tokens.update_many(expired, {"$unset": {"place": ""}})
            for place in range(1, MOST_ACTIVE + 1):
                try:
                    await self._tokens.insert_one({**document, "place": place})
                except DuplicateKeyError as error:
                    if "_id" in (error.details or {}).get("keyPattern", {}):
                        raise StoreError("storing a token: its id is taken; make another one") from None
                    continue
                return True
        return False

    async def active(self, at: datetime) -> list[TokenRecord]:
        # A revoked token has no place; an expired one may still have its place.
        wanted = {"place": {"$exists": True}, "$or": [{"expires_at": {"$exists": False}}, {"expires_at": {"$gt": at}}]}
        with store_errors("reading tokens"):
            documents = await self._tokens.find(wanted).limit(MAX_TOKENS + 1).to_list(None)
        if len(documents) > MAX_TOKENS:
            raise StoreError(f"reading tokens: more than {MAX_TOKENS:,} are active; revoke some")
        return [token_from(document) for document in documents]

    async def all(self) -> list[TokenRecord]:
        with store_errors("reading tokens"):
            documents = await self._tokens.find().sort([("made_at", 1), ("_id", 1)]).to_list(None)
        return [token_from(document) for document in documents]

    async def revoke(self, token_id: str, at: datetime) -> bool:
        with store_errors("revoking a token"):
            await self._tokens.update_one({"_id": token_id, "revoked_at": {"$exists": False}}, _revocation(at))
            return await self._tokens.find_one({"_id": token_id}, {"_id": 1}) is not None

    async def revoke_all(self, tenant: str, client: str, at: datetime) -> int:
        wanted = {"tenant": tenant, "client": client, "place": {"$exists": True}}
        with store_errors("revoking tokens"):
            done = await self._tokens.update_many(wanted, _revocation(at))
        return int(done.modified_count)


def _revocation(at: datetime) -> dict[str, Any]:
    return {"$set": {"revoked_at": at, "forget_at": at + REMEMBERED_FOR}, "$unset": {"place": ""}}
