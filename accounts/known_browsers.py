"""Browsers in which somebody has signed in before, told by a signed cookie.

A lock-out spares them: whoever guesses at a name elsewhere, or beside them behind the
same address, keeps its owner out of no browser of theirs. The cookie signs nobody in,
and has a limit on failures of its own.
"""

from django.conf import settings
from django.core import signing
from django.utils.crypto import get_random_string

from accounts.models import User

SALT = "accounts.known_browser"
LASTS = 365 * 24 * 3600  # seconds
MOST = 10  # people of one browser; the latest ones


def remember(request, response):
    """From now on the browser is one of the person who is signed in there."""
    browser, people = _read(request) or (get_random_string(16), [])
    own = request.user.pk
    people = [own, *(pk for pk in people if pk != own)][:MOST]
    response.set_cookie(
        settings.KNOWN_BROWSER_COOKIE_NAME,
        signing.dumps([browser, people], salt=SALT),
        max_age=LASTS,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def known(request, login):
    """What the browser is called if the person called `login` signed in there before,
    else None. Asks the database only of a browser that has the cookie."""
    if found := _read(request):
        browser, people = found
        person = User.objects.called(login)
        return browser if person and person.pk in people else None


def _read(request):
    cookie = request.COOKIES.get(settings.KNOWN_BROWSER_COOKIE_NAME, "")
    try:
        return signing.loads(cookie, salt=SALT, max_age=LASTS)
    except signing.BadSignature:
        return None
