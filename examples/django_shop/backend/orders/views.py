"""Orders over HTTP."""

from django.db import transaction
from django.http import JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from orders.models import Order
from orders.tasks import send_confirmation


@csrf_exempt
@require_POST
@transaction.atomic
def orders(request):
    """Take an order; its task is published when it is committed."""
    order = Order.objects.create(email=request.POST["email"], cents=request.POST["cents"])
    send_confirmation.delay_on_commit(order.pk)
    return JsonResponse({"number": order.pk}, status=201)


@require_GET
def order(request, number):
    """Show an order."""
    found = get_object_or_404(Order, pk=number)
    return JsonResponse({"number": found.pk, "confirmed": found.confirmed_at is not None})
