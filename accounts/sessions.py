"""Sessions: kept in PostgreSQL, read from the cache first, and never believed too long.

The cache says what a session holds. Whether it has ended, PostgreSQL says, at every
request (accounts.session_watch) and for every socket: so a sign-out holds at once, also
one that Redis missed because it was away.

Whoever has a session's key is that person. Only the browser's cookie holds it: table,
cache and all else know the session by the key's hash (`Session.hash_of`).
"""

import re
from functools import partial

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends import db
from django.core.cache import caches
from django.db import transaction
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.utils import timezone

from accounts.models import Session
from accounts.signals import session_ended

CACHED_FOR = 60  # seconds
OWN_KEY = re.compile(r"[a-z0-9]{32}")


def person_of(session_key):
    """The active person who is signed in with this session, or None. Only reads."""
    if not OWN_KEY.fullmatch(session_key or ""):
        return None
    sessions = Session.objects.alive().select_related("user")
    session = sessions.filter(pk=Session.hash_of(session_key)).first()
    return session.user if session and session.is_proven() else None


def alive(hashes):
    """Those of the hashes of keys whose sessions have not ended, as a set."""
    sessions = Session.objects.alive().filter(pk__in=hashes)
    return set(sessions.values_list("pk", flat=True))


class SessionStore(db.SessionStore):
    """Django's session engine, with the cache before the table."""

    @classmethod
    def get_model_class(cls):
        return Session

    @property
    def _hash(self):
        return Session.hash_of(self.session_key)

    def load(self):
        data = _cache().get(_entry(self._hash))
        return data if isinstance(data, dict) else self._load_from_table()

    def _load_from_table(self):
        session = self._get_session_from_db()
        if session is None:
            return {}
        data = self.decode(session.session_data)
        lasts = min(CACHED_FOR, self.get_expiry_age(expiry=session.expire_date))
        _cache().set(_entry(self._hash), data, lasts)
        return data

    def _get_session_from_db(self):
        session = self._stored().first()
        if session is None:
            self._session_key = None
        return session

    async def _aget_session_from_db(self):
        session = await self._stored().afirst()
        if session is None:
            self._session_key = None
        return session

    def _stored(self):
        return Session.objects.filter(pk=self._hash, expire_date__gt=timezone.now())

    def exists(self, session_key):
        return super().exists(Session.hash_of(session_key))

    async def aexists(self, session_key):
        return await super().aexists(Session.hash_of(session_key))

    def save(self, must_create=False):
        super().save(must_create)
        _cache().delete(_entry(self._hash))

    async def asave(self, must_create=False):
        await super().asave(must_create)
        await _cache().adelete(_entry(self._hash))

    def delete(self, session_key=None):
        key = session_key or self.session_key
        for session in Session.objects.filter(pk=Session.hash_of(key)):
            session.successor = self._hash if self.session_key != key else None
            session.delete()

    async def adelete(self, session_key=None):
        await sync_to_async(self.delete)(session_key)

    def create_model_instance(self, data):
        return _hashed(super().create_model_instance(data), data)

    async def acreate_model_instance(self, data):
        return _hashed(await super().acreate_model_instance(data), data)

    def _validate_session_key(self, key):
        # A cookie can hold anything, such as a NUL, over which PostgreSQL stumbles.
        return bool(key and OWN_KEY.fullmatch(key))


def _hashed(session, data):
    """As it is stored: Django gave it the key itself, and does not know its person."""
    session.session_key = Session.hash_of(session.session_key)
    session.user_id = data.get(SESSION_KEY)
    return session


@receiver(post_delete, sender=Session)
def _tell_end(instance, **_signal):
    """The one gate: whatever ends a session deletes its row."""
    _cache().delete(_entry(instance.pk))
    tell = partial(
        session_ended.send_robust,
        sender=Session,
        session_hash=instance.pk,
        successor=instance.successor,
    )
    transaction.on_commit(tell)


def _cache():
    return caches[settings.SESSION_CACHE_ALIAS]


def _entry(session_hash):
    return f"session:{session_hash}"
