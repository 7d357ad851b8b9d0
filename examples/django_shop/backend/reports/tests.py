"""Tests of reports."""

from unittest.mock import patch

from django.test import TestCase
from django.utils import timezone

from orders.models import Order
from reports.models import Report
from reports.tasks import build_report


class ReportTests(TestCase):
    """Reports and their task."""

    def test_a_report_sums_up_each_day(self):
        """Days without an order are left out."""
        for cents in (100, 250):
            Order.objects.create(email="a@example.com", cents=cents)
        report = Report.objects.create(days=3)
        totals = build_report(report.pk)["totals"]
        self.assertEqual(totals, {timezone.now().date().isoformat(): 350})
        shown = self.client.get(f"/reports/{report.pk}/").json()
        self.assertEqual((shown["state"], shown["days"]), ("PENDING", 3))

    def test_a_report_is_cancelled_by_its_task(self):
        """Whether it runs or waits."""
        report = Report.objects.create(days=3, task="00000000-0000-0000-0000-000000000001")
        with patch("celery.result.AsyncResult.revoke") as revoke:
            self.assertEqual(self.client.delete(f"/reports/{report.pk}/").status_code, 202)
        revoke.assert_called_once_with(terminate=True)
