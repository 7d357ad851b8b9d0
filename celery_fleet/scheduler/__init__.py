"""The scheduler for `celery beat`: several run, one at a time sends."""
