"""The worker channel's protocol: frames and one state machine for each end. Pure; docs/protocol.md specifies it."""
