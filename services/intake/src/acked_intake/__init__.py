"""Intake: persists requests in MongoDB, responds 202, publishes bundles."""
