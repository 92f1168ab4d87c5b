"""Who may call: tokens, what is kept of them, the table in memory, and the gate in front of every route."""
