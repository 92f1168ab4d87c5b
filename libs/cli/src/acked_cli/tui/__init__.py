"""The live screen `acked top`. Its screen needs Textual, of the extra `tui`; the other modules do not."""
