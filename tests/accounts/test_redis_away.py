"""Real servers and a real Redis that goes away and comes back with what it knew."""

import json
import re
import time

import httpx
import pytest
from django.core.cache import caches

from accounts.models import User
from tests.support.servers import wait_until

pytestmark = pytest.mark.django_db(transaction=True)

SOON = 0.8  # seconds; a page may wait for Redis once


class WebClient(httpx.Client):
    def sign_in(self, login, password):
        page = self.get("/accounts/login/").text
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[1]
        data = {"login": login, "password": password, "csrfmiddlewaretoken": token}
        return self.post("/accounts/login/", data=data)

    def sign_out(self):
        page = self.get("/accounts/logout/").text
        token = re.search(r'name="csrfmiddlewaretoken" value="(\w+)"', page)[1]
        return self.post("/accounts/logout/", data={"csrfmiddlewaretoken": token})

    @property
    def signed_in_as(self):
        return self.get("/accounts/session/").raise_for_status().json()["name"]


@pytest.fixture
def browse_to():
    """browse_to(server, cookies=…): a browser at that server."""
    browsers = []

    def browse_to(server, **kwargs):
        browsers.append(WebClient(base_url=server.url, timeout=10, **kwargs))
        return browsers[-1]

    yield browse_to
    for browser in browsers:
        browser.close()


@pytest.fixture
def saving_redis(redis_server):
    """A Redis whose save() outlives kill() and start(), if not this test."""
    yield redis_server
    redis_server.resume()
    redis_server.client.flushall()
    redis_server.client.save()


@pytest.fixture
def server(serve, redis_server):
    return serve(REDIS_URL=redis_server.url)


@pytest.fixture
def browser(server, ann, browse_to, password):
    """Signed in, and Redis knows it."""
    browser = browse_to(server)
    browser.sign_in("ann", password)
    assert browser.signed_in_as == "Ann"
    return browser


def sessions_in(redis):
    return redis.client.keys("*session:*")


def test_redis_holds_the_session_as_json_for_a_minute(browser, redis_server):
    [key] = sessions_in(redis_server)
    assert 0 < redis_server.client.ttl(key) <= 60
    user = User.objects.get()
    assert json.loads(redis_server.client.get(key))["_auth_user_id"] == str(user.pk)


def test_redis_holds_no_key_of_a_session(browser, redis_server):
    key = browser.cookies["sessionid"]
    [entry] = sessions_in(redis_server)
    assert key.encode() not in entry + redis_server.client.get(entry)


def test_redis_forgets_a_session_that_ends(browser, redis_server):
    browser.sign_out()
    assert sessions_in(redis_server) == []


def test_what_redis_holds_is_used(browser, redis_server, server):
    """Or the tests below would show nothing."""
    [key] = sessions_in(redis_server)
    redis_server.client.set(key, b"{}")
    assert browser.signed_in_as is None
    redis_server.client.set(key, b"\x80\x04 no json")
    assert browser.signed_in_as == "Ann"


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_without_redis_all_goes_on_and_soon(
    browser, redis_server, fault, browse_to, server, password
):
    getattr(redis_server, fault)()
    for _page in range(20):
        began = time.monotonic()
        assert browser.signed_in_as == "Ann"
        assert time.monotonic() - began < SOON
    other = browse_to(server)
    began = time.monotonic()
    assert other.sign_in("ann", password).status_code == 302  # over 20 lookups
    assert time.monotonic() - began < 2 * SOON
    assert other.signed_in_as == "Ann"
    other.sign_out()
    assert other.signed_in_as is None
    assert server.log.count("Redis does not answer") == 1
    assert "Traceback" not in server.log


def test_the_limit_on_attempts_holds_without_redis(
    browse_to, server, ann, redis_server
):
    redis_server.kill()
    browser = browse_to(server)
    answers = [browser.sign_in("ann", "wrong").status_code for _attempt in range(11)]
    assert answers == [200] * 10 + [429]


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_a_sign_out_that_redis_missed_holds_when_it_is_back(
    browser, saving_redis, fault, serve, browse_to, server
):
    second = serve(REDIS_URL=saving_redis.url)  # a process that will notice nothing
    thieves = [browse_to(each, cookies=browser.cookies) for each in (server, second)]
    assert [thief.signed_in_as for thief in thieves] == ["Ann", "Ann"]
    saving_redis.client.save()
    getattr(saving_redis, fault)()
    browser.sign_out()
    saving_redis.resume() if fault == "pause" else saving_redis.start()
    assert sessions_in(saving_redis)
    assert [thief.signed_in_as for thief in thieves] == [None, None]


def test_redis_is_asked_again_when_it_is_back(browser, redis_server):
    redis_server.kill()
    assert browser.signed_in_as == "Ann"
    redis_server.start()
    assert sessions_in(redis_server) == []
    wait_until(lambda: browser.signed_in_as == "Ann" and sessions_in(redis_server), 5)


# The cache by itself --------------------------------------------------------------


@pytest.fixture
def caches_in(settings):
    """caches_in(redis): the two caches as they are with that Redis."""

    def caches_in(redis):
        common = {"LOCATION": redis.url}
        settings.CACHES = {
            "default": {"BACKEND": "config.cache.ForgivingRedisCache", **common},
            "sessions": {"BACKEND": "config.cache.SessionCache", **common},
        }
        return caches["default"], caches["sessions"]

    return caches_in


def test_every_call_of_a_cache_works_and_is_forgiven(caches_in, redis_server):
    for fault in (lambda: None, redis_server.kill):
        fault()
        limits, _sessions = caches_in(redis_server)
        assert limits.add("a", 1) is True
        assert limits.add("a", 2) is False
        assert limits.incr("a") == 2
        limits.set("b", ["x", 1.5, None], timeout=5)
        assert limits.get_many(["a", "b", "c"]) == {"a": 2, "b": ["x", 1.5, None]}
        assert limits.touch("b", 10) is True
        assert "b" in limits
        assert limits.set_many({"c": {"d": True}}) == []
        limits.delete_many(["a", "b"])
        assert limits.delete("c") is True
        assert limits.get("c", "none") == "none"
        limits.clear()


def test_nothing_stands_in_for_what_sessions_hold(caches_in, redis_server):
    redis_server.kill()
    _limits, sessions = caches_in(redis_server)
    sessions.set("a", 1)
    assert sessions.get("a", "none") == "none"
    assert sessions.add("a", 1) is True
    assert "a" not in sessions


def test_what_stood_in_is_forgotten_when_redis_is_back(
    caches_in, redis_server, monkeypatch
):
    limits, _sessions = caches_in(redis_server)
    redis_server.kill()
    limits.set("a", "of the time without")
    assert limits.get("a") == "of the time without"
    redis_server.start()
    monkeypatch.setattr("config.cache.REST", 0)
    wait_until(lambda: limits.get("a") is None)
    redis_server.kill()
    assert limits.get("a") is None


def test_a_cache_never_runs_what_it_reads(caches_in, redis_server):
    limits, _sessions = caches_in(redis_server)
    redis_server.client.set(limits.make_key("a"), b"cos\nsystem\n(S'false'\ntR.")
    assert limits.get("a") is None
