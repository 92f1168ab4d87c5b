"""What a job is: its lifecycle, names, identifiers and messages. Pure: nothing here does I/O or reads a clock."""
