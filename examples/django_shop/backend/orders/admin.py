"""Orders in the administration."""

from django.contrib import admin

from orders.models import Order


@admin.register(Order)
class OrderAdmin(admin.ModelAdmin):
    """The list of orders."""

    list_display = ["id", "email", "cents", "ordered_at", "confirmed_at", "paid_at"]
