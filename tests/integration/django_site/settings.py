"""The project's settings."""

from __future__ import annotations

import os

SECRET_KEY = "of a test"
INSTALLED_APPS = ["django_celery_beat"]
USE_TZ = True
TIME_ZONE = "Europe/Berlin"
# The server is found by the directory of its socket.
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": os.environ["TEST_POSTGRES"],
        "NAME": "postgres",
        "USER": "postgres",
    }
}
CELERY_TIMEZONE = TIME_ZONE
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_SCHEDULE = {
    "own": {"task": "shop.own", "schedule": 1.0, "options": {"queue": "general_scheduled"}}
}
