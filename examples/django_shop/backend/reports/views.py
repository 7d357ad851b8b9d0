"""Reports over HTTP: ask for one, look at it, cancel it."""

from celery.result import AsyncResult
from django.core.cache import cache
from django.db import transaction
from django.http import JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods, require_POST

from reports.models import Report
from reports.tasks import build_report, progress_key


@csrf_exempt
@require_POST
def reports(request):
    """Ask for a report."""
    with transaction.atomic():
        report = Report.objects.create(days=request.POST["days"])
    report.task = build_report.delay(report.pk).id
    report.save(update_fields=["task"])
    return JsonResponse({"number": report.pk}, status=202)


@csrf_exempt
@require_http_methods(["GET", "DELETE"])
def report(request, number):
    """Show how far a report is, or cancel it."""
    found = AsyncResult(str(get_object_or_404(Report, pk=number).task))
    if request.method == "DELETE":
        found.revoke(terminate=True)
        return JsonResponse({}, status=202)
    done = cache.get(progress_key(number), 0)
    return JsonResponse(
        {"state": found.state, "days": done, "result": found.result if found.successful() else None}
    )
