"""The types that users of the client see: jobs, requests, events and exceptions. Pure."""
