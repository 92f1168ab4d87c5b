"""The two shells: they send, wait and receive for the flows of the core, blocking or on an asyncio loop."""
