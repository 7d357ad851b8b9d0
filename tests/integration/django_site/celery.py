"""The project's Celery application."""

from __future__ import annotations

import os

from celery import Celery

import celery_fleet

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_site.settings")

app = Celery("django_site")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
celery_fleet.configure(app)
