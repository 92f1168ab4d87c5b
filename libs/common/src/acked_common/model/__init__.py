"""The model of a job: lifecycle, names, ids and messages. Pure: no module does I/O or reads a clock."""
