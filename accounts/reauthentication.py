"""Asking people again who they are, without losing what they were about to send."""

import re
import time

from allauth.account.adapter import get_adapter
from allauth.account.internal.flows.login import get_authentication_records
from allauth.account.internal.flows.reauthentication import STATE_SESSION_KEY
from allauth.core.exceptions import ReauthenticationRequired
from django.contrib import messages
from django.http import QueryDict
from django.shortcuts import redirect, render, resolve_url
from django.urls import reverse
from django.utils.http import urlencode
from django.utils.translation import gettext as _

KEPT = 64 * 1024  # characters; the session is no place for more
NOT_KEPT = re.compile("password|^csrfmiddlewaretoken$")


def has_signed_in_within(request, seconds):
    """Whether this session's person has shown so lately who they are, and by their
    second factor if they have one."""
    records = get_authentication_records(request, request.user)
    if request.user.has_second_factor:
        records = [record for record in records if record["method"] == "mfa"]
    return any(time.time() - record["at"] < seconds for record in records)


def middleware(get_response):
    """Where a page of allauth's wants to know again who one is."""

    def answer(request):
        return get_response(request)

    def process_exception(request, exception):
        is_ours = isinstance(exception, ReauthenticationRequired)
        return ask_again(request) if is_ours and request.user.is_authenticated else None

    answer.process_exception = process_exception
    return answer


def ask_again(request):
    """To the page that asks who one is, and then back to what was asked for."""
    request.session.pop(STATE_SESSION_KEY, None)
    if request.method == "POST":
        _keep(request)
    methods = get_adapter().get_reauthentication_methods(request.user)
    page = methods[0]["url"] if methods else reverse("account_set_password")
    return redirect(f"{page}?{urlencode({'next': request.get_full_path()})}")


def _keep(request):
    """Keep the form in the session; allauth would keep the cookies with it, and with
    them the session's key."""
    fields = [(name, request.POST.getlist(name)) for name in request.POST]
    kept = QueryDict(mutable=True)
    for name, values in fields:
        if not NOT_KEPT.search(name):
            kept.setlist(name, values)
    text = kept.urlencode()
    if len(text) > KEPT or any("password" in name for name, _values in fields):
        told = _("Your changes weren’t saved. Enter them again.")
        return messages.warning(request, told)
    state = {"path": request.get_full_path(), "fields": text}
    request.session[STATE_SESSION_KEY] = {
        "callback": "accounts.reauthentication.send_again",
        "state": state,
    }


def send_again(request, state):
    """The page with what was kept, which one click sends."""
    fields = list(QueryDict(state["fields"]).lists())
    context = {"path": resolve_url(state["path"]), "fields": fields}
    return render(request, "account/send_again.html", context)
