"""The live feed: from the change stream to the clients of `/ws/feed`."""
