"""Failed jobs that need attention, by group of errors, and the notes of operators on a group."""
