"""What commands write: tables on a terminal, lines of JSON on a pipe."""
