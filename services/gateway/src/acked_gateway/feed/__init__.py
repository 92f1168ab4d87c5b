"""The live feed: from the change stream to the clients of `/ws/feed`, over WebSockets and server-sent events."""
