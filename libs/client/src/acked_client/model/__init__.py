"""What users of the client hold in their hands: jobs, requests, events and exceptions. Pure."""
