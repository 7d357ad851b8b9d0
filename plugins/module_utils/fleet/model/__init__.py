"""The model: what a site writes, read and checked."""
