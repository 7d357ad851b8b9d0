"""Celery's settings: what the fleet decides, what it leaves to the application, and what it refuses."""
