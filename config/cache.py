"""Redis as a cache that may be slow, dead or emptied without harm to anybody."""

import functools
import json
import logging
import time

from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.cache.backends.redis import RedisCache, RedisCacheClient
from redis import RedisError

logger = logging.getLogger(__name__)

TIMEOUT = 0.2  # seconds for one command; no page waits longer than that
REST = 1  # seconds after an error in which nobody asks Redis
WARN_EVERY = 60  # seconds


class JSONSerializer:
    """Who can write to Redis must not be able to run code here, as by a pickle."""

    def dumps(self, value):
        # An integer is stored as digits, so that Redis can count it up.
        return json.dumps(value)

    def loads(self, data):
        try:
            return json.loads(data)
        except ValueError:
            return None


class Connection:
    """The process's connections to a Redis, and how it fares.

    After an error nobody asks Redis for a while: a page with ten lookups pays one
    time-out, not ten. Then one call tries; the others do without until it has worked.
    """

    def __init__(self, client):
        self.client = client
        self.resting_until = None
        self.warned_at = None

    def is_up(self):
        if self.resting_until is None:
            return True
        now = time.monotonic()
        if now < self.resting_until:
            return False
        self.resting_until = now + REST
        return True

    def failed(self, error):
        now = time.monotonic()
        self.resting_until = now + REST
        if self.warned_at is None or now - self.warned_at > WARN_EVERY:
            self.warned_at = now
            logger.warning("Redis does not answer, and is left alone: %r", error)

    def worked(self):
        """Whether it did not work the last time."""
        was_down, self.resting_until = self.resting_until is not None, None
        return was_down


@functools.cache
def line_to(servers):
    # One for all: under ASGI Django makes a cache object for every request, and each
    # would open its own connection.
    options = {"socket_timeout": TIMEOUT, "socket_connect_timeout": TIMEOUT}
    client = RedisCacheClient(list(servers), serializer=JSONSerializer, **options)
    return Connection(client)


class ForgivingRedisCache(RedisCache):
    """A cache in Redis whose errors are misses.

    While Redis is away a cache in this process's memory stands in for it, so that
    limits on attempts go on, if only per process.
    """

    def __init__(self, server, params):
        super().__init__(server, params)
        self._line = line_to(tuple(self._servers))
        self._stand_in = self.make_stand_in(params)

    def make_stand_in(self, params):
        return LocMemCache("while Redis is away", params)

    @property
    def _cache(self):
        return self._line.client

    def _either(self, method, *args, **kwargs):
        if self._line.is_up():
            try:
                result = getattr(super(), method)(*args, **kwargs)
            except (RedisError, OSError) as error:
                self._line.failed(error)
            else:
                if self._line.worked():
                    self._stand_in.clear()
                return result
        return getattr(self._stand_in, method)(*args, **kwargs)

    add = functools.partialmethod(_either, "add")
    get = functools.partialmethod(_either, "get")
    set = functools.partialmethod(_either, "set")
    touch = functools.partialmethod(_either, "touch")
    delete = functools.partialmethod(_either, "delete")
    get_many = functools.partialmethod(_either, "get_many")
    set_many = functools.partialmethod(_either, "set_many")
    delete_many = functools.partialmethod(_either, "delete_many")
    has_key = functools.partialmethod(_either, "has_key")
    incr = functools.partialmethod(_either, "incr")
    clear = functools.partialmethod(_either, "clear")


class SessionCache(ForgivingRedisCache):
    """What sessions hold. Two processes must not differ over it: nothing stands in."""

    def make_stand_in(self, params):
        return DummyCache("", params)
