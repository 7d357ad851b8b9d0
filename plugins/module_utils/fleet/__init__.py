"""The model of a Celery fleet and what is derived from it: pure Python, standard library only."""
