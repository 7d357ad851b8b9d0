"""A load that proves what became of each of its tasks."""
