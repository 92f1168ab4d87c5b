"""Intake: keeps requests in MongoDB, answers 202, publishes bundles."""
