"""Reports that somebody asked for."""

from django.db import models


class Report(models.Model):
    """A report on the orders of the last days."""

    days = models.PositiveIntegerField()
    task = models.UUIDField(null=True)
    asked_at = models.DateTimeField(auto_now_add=True)
