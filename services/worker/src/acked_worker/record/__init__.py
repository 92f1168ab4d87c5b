"""From an ending to a recorded transition; the renewal of leases."""
