"""Preflight: what is refused before any host is touched."""
