"""The shop's Celery application."""

import os

from celery import Celery

import celery_fleet

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")

app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
celery_fleet.configure(app)  # the one line that a fleet needs
