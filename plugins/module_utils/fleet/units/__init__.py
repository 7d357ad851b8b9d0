"""Workers that somebody started by hand, read from their files as a first model."""
