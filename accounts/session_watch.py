from allauth.core.internal.httpkit import get_client_ip
from django.contrib.auth.models import AnonymousUser

from accounts import known_browsers
from accounts.models import Session


def session_watch(get_response):
    """Believe no session that has ended, whatever the cache holds; note its use.

    This asks PostgreSQL once per request. It is what makes a sign-out hold while Redis
    is away, and after it is back with all it knew before.
    """

    def middleware(request):
        if request.session.session_key and request.user.is_authenticated:
            if session := _row(request, Session.objects.alive()):
                _note(request, session)
            else:
                request.session.flush()
                request.user = AnonymousUser()
        key = request.session.session_key
        response = get_response(request)
        just_signed_in = request.session.session_key != key
        if just_signed_in and (session := _row(request, Session.objects)):
            _note(request, session)
            if request.user.is_authenticated:
                known_browsers.remember(request, response)
        return response

    return middleware


def sign_out(get_response):
    """With a person goes what their browser keeps: what they typed. Cookies stay, for
    they tell a known browser. (Browsers heed this over https only;
    static/js/app/sign-out.js does it everywhere.)"""

    def middleware(request):
        was_signed_in = request.user.is_authenticated
        response = get_response(request)
        if was_signed_in and not request.user.is_authenticated:
            response["Clear-Site-Data"] = '"storage"'
        return response

    return middleware


def _row(request, sessions):
    name = Session.hash_of(request.session.session_key)
    return sessions.defer("session_data").filter(pk=name).first()


def _note(request, session):
    session.note(request.headers.get("User-Agent", ""), get_client_ip(request))
