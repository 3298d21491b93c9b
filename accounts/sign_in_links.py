"""Links with which a person chooses a new password, and so comes in.

An operator makes them (`manage.py sign_in_link`), where no letters are sent or a letter
cannot help.
"""

from django.core import signing
from django.utils.crypto import constant_time_compare, salted_hmac

from accounts.models import User

SALT = "accounts.sign_in_link"
LASTS = 3600  # seconds


def token_for(person):
    """Good for an hour, until a link of theirs is used or they sign in otherwise."""
    return signing.dumps([person.pk, _state(person)], salt=SALT)


def person_of(token):
    """The person, or None if the token is not good (any more).

    In a transaction: the person's row is locked, so of two who come with one token at
    once, one finds it used.
    """
    try:
        pk, state = signing.loads(token, salt=SALT, max_age=LASTS)
    except signing.BadSignature:
        return None
    person = User.objects.select_for_update().filter(pk=pk, is_active=True).first()
    is_good = person and constant_time_compare(state, _state(person))
    return person if is_good else None


def _state(person):
    """What changes when the link is used, or is needed no more."""
    return salted_hmac(SALT, f"{person.password} {person.last_login}").hexdigest()
