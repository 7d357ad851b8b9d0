"""The shop's addresses."""

from django.contrib import admin
from django.urls import path

import orders.views
import reports.views

urlpatterns = [
    path("admin/", admin.site.urls),
    path("orders/", orders.views.orders),
    path("orders/<int:number>/", orders.views.order),
    path("reports/", reports.views.reports),
    path("reports/<int:number>/", reports.views.report),
]
