"""Callback endpoints, for asyncio."""

from acked_client.core import callback_endpoints
from acked_client.core.exchange import Session
from acked_client.model.callbacks import CallbackEndpoint
from acked_client.model.requests import CallbackEndpointDefinition
from acked_client.shells.asynchronous import AsyncDriver


class AsyncCallbackEndpointCalls:
    """The calls of `AsyncAcked` that concern callback endpoints."""

    _driver: AsyncDriver
    _session: Session

    async def callback_endpoints(self) -> list[CallbackEndpoint]:
        """Return the callback endpoints of the tenant, by name."""
        return await self._driver.run(callback_endpoints.endpoints(self._session))

    async def callback_endpoint(self, name: str) -> CallbackEndpoint:
        """Return a callback endpoint."""
        return await self._driver.run(callback_endpoints.endpoint(self._session, name))

    async def put_callback_endpoint(self, name: str, definition: CallbackEndpointDefinition) -> CallbackEndpoint:
        """Define a callback endpoint, or replace its definition; the same one again changes nothing.

        It gets the events of jobs that are submitted after this call.
        """
        return await self._driver.run(callback_endpoints.put(self._session, name, definition))

    async def delete_callback_endpoint(self, name: str) -> CallbackEndpoint:
        """Delete a callback endpoint and return it as it was. Nothing more is sent to it."""
        return await self._driver.run(callback_endpoints.delete(self._session, name))

    async def enable_callback_endpoint(self, name: str) -> CallbackEndpoint:
        """Enable a callback endpoint, as if its deliveries had not failed; without effect on an enabled one."""
        return await self._driver.run(callback_endpoints.enable(self._session, name))

    async def disable_callback_endpoint(self, name: str, *, reason: str | None = None) -> CallbackEndpoint:
        """Disable a callback endpoint. A second time does not replace the first."""
        return await self._driver.run(callback_endpoints.disable(self._session, name, reason))
