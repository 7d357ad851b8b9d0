"""The load as an application of its own."""

from celery import Celery

import celery_fleet

app = Celery("load", include=["load.tasks"])
celery_fleet.configure(app)
