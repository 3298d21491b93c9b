from http import HTTPStatus

from allauth.account.utils import perform_login
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import Http404, JsonResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from accounts import sign_in_links
from accounts.forms import NameForm, ResetPasswordKeyForm
from accounts.models import Session, User
from accounts.security_record import Kind, SecurityRecord


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def profile(request):
    # A copy of one's own: a refused name must not stand in the page's header.
    form = NameForm(request.POST or None, instance=User.objects.get(pk=request.user.pk))
    if form.is_valid() and form.save():
        messages.success(request, _("Your name was changed."))
        return redirect("accounts:profile")
    return render(request, "account/profile.html", {"form": form})


@require_safe
def session(request):
    """Whether one is signed in. The browser asks after its socket was refused."""
    user = request.user
    name = user.username if user.is_authenticated else None
    return JsonResponse(
        {"signed_in": user.is_authenticated, "id": user.pk, "name": name}
    )


@login_required
@require_safe
def sessions(request):
    own = request.user.sessions.alive().defer("session_data").order_by("-seen_at")
    current = request.session.session_key
    return render(
        request,
        "account/sessions.html",
        {
            "current": own.filter(pk=Session.hash_of(current)).first(),
            "others": own.besides(current),
        },
    )


@login_required
@require_POST
def end_session(request, handle):
    for each in request.user.sessions.all():
        if each.handle == handle:
            each.delete()
            messages.success(request, _("The session was ended."))
            return redirect("accounts:sessions")
    raise Http404


@login_required
@require_POST
def end_other_sessions(request):
    request.user.sessions.besides(request.session.session_key).delete()
    messages.success(request, _("You’re signed out everywhere else."))
    return redirect("accounts:sessions")


@sensitive_post_parameters("password1", "password2")
@require_http_methods(["GET", "HEAD", "POST"])
def sign_in_link(request, token):
    """Choose a new password with a link that an operator made. A GET uses nothing up:
    programs that show what is behind a link look at it first."""
    with transaction.atomic():
        person = sign_in_links.person_of(token)
        form = ResetPasswordKeyForm(request.POST or None, user=person)
        if is_used := person is not None and form.is_valid():
            form.save()
            SecurityRecord.objects.note(Kind.LINK_USED, person)
    if is_used:
        return perform_login(request, person)
    page = {"person": person, "form": form}
    status = HTTPStatus.OK if person else HTTPStatus.GONE
    return render(request, "account/sign_in_link.html", page, status=status)
