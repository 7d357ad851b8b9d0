"""Reports that take long."""

from datetime import timedelta

from celery import shared_task
from django.core.cache import cache
from django.db.models import Sum
from django.utils import timezone

from orders.models import Order
from reports.models import Report


def progress_key(number):
    """Return where the number of a report's finished days is."""
    return f"report-{number}"


@shared_task
def build_report(number):
    """Sum up the orders of each of a report's days."""
    report = Report.objects.get(pk=number)
    totals = {}
    for day in range(report.days):
        date = (report.asked_at - timedelta(days=day)).date()
        found = Order.objects.filter(ordered_at__date=date).aggregate(cents=Sum("cents"))
        if found["cents"]:
            totals[date.isoformat()] = found["cents"]
        cache.set(progress_key(number), day + 1, timeout=3600)
    return {"totals": totals, "built_at": timezone.now().isoformat()}
