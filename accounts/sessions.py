"""Sessions: kept in PostgreSQL, read from the cache first, and never believed too long.

The cache says what a session holds. Whether it has ended, PostgreSQL says, at every
request (accounts.middleware) and for every socket: so a sign-out holds at once, also
one that Redis missed because it was away.
"""

import re
from functools import partial

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends import db
from django.core.cache import caches
from django.db import transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver

from accounts.models import Session
from accounts.signals import session_ended

CACHED_FOR = 60  # seconds
OWN_KEY = re.compile(r"[a-z0-9]{32}")


def person_of(session_key):
    """The active person who is signed in with this session, or None. Only reads."""
    if not OWN_KEY.fullmatch(session_key or ""):
        return None
    sessions = Session.objects.alive().select_related("user")
    session = sessions.filter(pk=session_key).first()
    return session.user if session and session.is_proven() else None


def alive(session_keys):
    """Those of the keys whose sessions have not ended, as a set."""
    sessions = Session.objects.alive().filter(pk__in=session_keys)
    return set(sessions.values_list("pk", flat=True))


class SessionStore(db.SessionStore):
    """Django's session engine, with the cache before the table."""

    @classmethod
    def get_model_class(cls):
        return Session

    def load(self):
        data = _cache().get(_entry(self.session_key))
        return data if isinstance(data, dict) else self._load_from_table()

    def _load_from_table(self):
        session = self._get_session_from_db()
        if session is None:
            return {}
        data = self.decode(session.session_data)
        lasts = min(CACHED_FOR, self.get_expiry_age(expiry=session.expire_date))
        _cache().set(_entry(self.session_key), data, lasts)
        return data

    def save(self, must_create=False):
        super().save(must_create)
        _cache().delete(_entry(self.session_key))

    async def asave(self, must_create=False):
        await super().asave(must_create)
        await _cache().adelete(_entry(self.session_key))

    def delete(self, session_key=None):
        key = session_key or self.session_key
        for session in Session.objects.filter(pk=key):
            session.successor = self.session_key if self.session_key != key else None
            session.delete()

    def create_model_instance(self, data):
        session = super().create_model_instance(data)
        session.user_id = data.get(SESSION_KEY)
        return session

    async def acreate_model_instance(self, data):
        session = await super().acreate_model_instance(data)
        session.user_id = data.get(SESSION_KEY)
        return session

    def _validate_session_key(self, key):
        # A cookie can hold anything, such as a NUL, over which PostgreSQL stumbles.
        return bool(key and OWN_KEY.fullmatch(key))


@receiver(post_delete, sender=Session)
def _tell_end(instance, **_signal):
    """The one gate: whatever ends a session deletes its row."""
    _cache().delete(_entry(instance.pk))
    tell = partial(
        session_ended.send_robust,
        sender=Session,
        session_key=instance.pk,
        successor=instance.successor,
    )
    transaction.on_commit(tell)


def _cache():
    return caches[settings.SESSION_CACHE_ALIAS]


def _entry(session_key):
    return f"session:{session_key}"
