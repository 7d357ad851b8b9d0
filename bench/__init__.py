"""Measurements of what the kit costs."""
