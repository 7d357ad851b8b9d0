"""What happens to orders outside of requests. A task may run twice, so each looks first what is done."""

from datetime import timedelta
from smtplib import SMTPException

from celery import shared_task
from django.core.mail import send_mail
from django.utils import timezone

from orders.models import Order

PAY_WITHIN = timedelta(hours=1)


@shared_task(autoretry_for=(SMTPException, OSError), retry_backoff=True, max_retries=8)
def send_confirmation(number):
    """Send the customer a confirmation."""
    order = Order.objects.get(pk=number)
    if order.confirmed_at:
        return
    send_mail(f"Your order {number}", f"Please pay {order.cents / 100:.2f} €.", None, [order.email])
    Order.objects.filter(pk=number).update(confirmed_at=timezone.now())


@shared_task
def forget_unpaid():
    """Delete orders that nobody paid in time."""
    late = Order.objects.filter(paid_at=None, ordered_at__lt=timezone.now() - PAY_WITHIN)
    return late.delete()[0]
