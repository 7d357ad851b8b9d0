"""Tests of orders. Tasks run at once in the test itself; nothing is asked of a broker."""

from datetime import timedelta

from django.core import mail
from django.test import TestCase
from django.utils import timezone

from orders.models import Order
from orders.tasks import forget_unpaid, send_confirmation
from shop import celery_app


class OrderTests(TestCase):
    """Orders and their tasks."""

    def setUp(self):
        """Run tasks here."""
        celery_app.conf.task_always_eager = True
        self.addCleanup(setattr, celery_app.conf, "task_always_eager", False)

    def test_an_order_is_confirmed_when_it_is_committed(self):
        """The task is published by the commit, not before."""
        with self.captureOnCommitCallbacks() as callbacks:
            number = self.client.post("/orders/", {"email": "a@example.com", "cents": 1250}).json()["number"]
        self.assertEqual(self.client.get(f"/orders/{number}/").json(), {"number": number, "confirmed": False})
        callbacks[0]()
        self.assertEqual(self.client.get(f"/orders/{number}/").json(), {"number": number, "confirmed": True})

    def test_a_task_that_runs_twice_sends_one_mail(self):
        """A task is delivered again if its worker is lost before it is acknowledged."""
        order = Order.objects.create(email="a@example.com", cents=1250)
        send_confirmation(order.pk)
        send_confirmation(order.pk)
        self.assertEqual([message.to for message in mail.outbox], [["a@example.com"]])
        self.assertIn("12.50", mail.outbox[0].body)

    def test_only_old_unpaid_orders_are_forgotten(self):
        """Paid ones and new ones stay."""
        old = timezone.now() - timedelta(days=1)
        for paid in (None, old):
            Order.objects.create(email="a@example.com", cents=1, paid_at=paid)
        Order.objects.update(ordered_at=old)
        Order.objects.create(email="b@example.com", cents=1)
        self.assertEqual(forget_unpaid(), 1)
        self.assertEqual(Order.objects.count(), 2)
