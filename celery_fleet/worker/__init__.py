"""What a worker does beyond Celery's own: when it takes tasks, how many, and what it reports."""
