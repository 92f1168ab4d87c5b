"""What every Acked service shares; each fact (states, messages, queries, topology, settings) has one owner here."""
