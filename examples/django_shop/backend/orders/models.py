"""What customers ordered."""

from django.db import models


class Order(models.Model):
    """An order of a customer."""

    email = models.EmailField()
    cents = models.PositiveIntegerField()
    ordered_at = models.DateTimeField(auto_now_add=True)
    confirmed_at = models.DateTimeField(null=True)
    paid_at = models.DateTimeField(null=True)
