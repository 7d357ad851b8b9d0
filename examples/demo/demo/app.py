"""The Celery application; one line makes it a member of the fleet."""

from celery import Celery

import celery_fleet
from demo import ledger

app = Celery("demo", include=["demo.tasks.cpu", "demo.tasks.io", "demo.tasks.memory"])
celery_fleet.configure(app)

ledger.connect()
