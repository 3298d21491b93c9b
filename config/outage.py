"""What is answered while PostgreSQL does not: 503 and a page that says so."""

import sys

from django.shortcuts import render
from django.views import defaults

from config.problems import is_outage

RETRY_AFTER = 5  # seconds


def server_error(request):
    """Django's handler500; called while the error is being handled."""
    if not is_outage(sys.exception()):
        return defaults.server_error(request)
    page = render(None, "503.html", status=503)
    page["Retry-After"] = RETRY_AFTER
    return page
