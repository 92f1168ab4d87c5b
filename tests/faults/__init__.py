"""The fault suite: a rig that breaks real processes, ledgers of what happened, and a checker over all of them."""
