"""From a lane to a claimed attempt: prefetch, claims, slots."""
