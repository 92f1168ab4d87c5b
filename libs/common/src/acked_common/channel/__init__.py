"""The worker channel's protocol: frames and a state machine for each end. Pure; docs/protocol.md specifies it."""
