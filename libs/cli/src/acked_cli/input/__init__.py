"""What people type: payloads, filters, rates, durations."""
