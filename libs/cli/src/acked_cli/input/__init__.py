"""Parsers of command-line values: payloads, filters, rates, durations."""
