"""The output of commands: tables on a terminal, lines of JSON on a pipe."""
