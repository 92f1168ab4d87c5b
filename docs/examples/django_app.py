"""Submit jobs from Django: `python django_app.py runserver 8001 --noreload`.

A whole site in one file. In a project, the views and the client go into an app of their own.
"""

import json
import os
import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from acked_client import Acked, LimitReached, NoResponse, NotFound, RetryPolicy, Unavailable

settings.configure(
    ALLOWED_HOSTS=["localhost", "127.0.0.1"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    ROOT_URLCONF=__name__,
    SECRET_KEY=os.environ.get("DJANGO_SECRET_KEY", "only-for-this-example"),
)

# Threads share one client and its connections. A request waits 5 s for Acked at most.
acked = Acked(os.environ.get("GATEWAY", "http://localhost:8080"), retry=RetryPolicy(budget_s=5))


# For programs, which have no CSRF token. Behind a form, leave it out.
@csrf_exempt
@require_POST
def start(request: HttpRequest) -> HttpResponse:
    """Start a report. The job is durable when this responds.

    A view that also writes to a database submits in `transaction.on_commit`: a job must not run before its rows exist.
    """
    try:
        rows = json.loads(request.body)["rows"]
    except (ValueError, KeyError, TypeError):
        return JsonResponse({"error": 'send {"rows": 100}'}, status=400)
    try:
        job = acked.submit("example.report", {"rows": rows}, idempotency_key=request.headers.get("Idempotency-Key"))
    except (LimitReached, Unavailable, NoResponse):
        body = {"error": "try again, with the same Idempotency-Key"}
        return JsonResponse(body, status=503, headers={"Retry-After": "5"})
    return JsonResponse({"id": job.id}, status=202)


@require_GET
def show(request: HttpRequest, job_id: str) -> HttpResponse:
    """Return the state of a report, and its result once there is one."""
    try:
        status = acked.job(job_id).status()
    except NotFound:
        return JsonResponse({"error": "no such report"}, status=404)
    return JsonResponse({"state": status.state, "result": status.result})


urlpatterns = [path("reports", start), path("reports/<str:job_id>", show)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
