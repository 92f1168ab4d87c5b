"""The accept path: from a checked submission to a persisted job and its bundle."""
