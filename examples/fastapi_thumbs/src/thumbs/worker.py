"""The Celery application: `celery -A thumbs.worker worker`."""

from celery import Celery

from thumbs.settings import settings

app = Celery("thumbs", broker=settings.broker_url, backend=settings.result_backend, include=["thumbs.tasks"])
app.conf.update(task_track_started=True, result_expires=3600)
