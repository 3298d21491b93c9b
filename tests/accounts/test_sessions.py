import json
import re
from datetime import timedelta

import pytest
from asgiref.sync import async_to_sync
from django.core.management import call_command
from django.db import connection
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.loader import MigrationLoader
from django.test import Client
from django.utils import timezone

from accounts.models import Session, User
from accounts.sessions import SessionStore, alive, person_of
from accounts.signals import session_ended

PAGE = "/accounts/sessions/"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
IPHONE = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/18.0 Mobile/15E148 Safari/604.1"
)


def key_of(client):
    return client.cookies["sessionid"].value


def name_of(client):
    """What the server knows a browser's session by."""
    return Session.hash_of(key_of(client))


@pytest.fixture
def ended():
    """The sessions that were told to have ended, with their successors."""
    told = {}

    def hear(session_hash, successor, **_signal):
        told[session_hash] = successor

    session_ended.connect(hear)
    yield told
    session_ended.disconnect(hear)


# The page -------------------------------------------------------------------------


def test_one_sees_where_one_is_signed_in_in_plain_words(ann, sign_in):
    here = sign_in("ann", HTTP_USER_AGENT=FIREFOX).client
    sign_in("ann", HTTP_USER_AGENT=IPHONE, REMOTE_ADDR="192.0.2.7")
    page = here.get(PAGE, HTTP_USER_AGENT=FIREFOX).content.decode()
    this, other = re.findall(r"<li>.*?</li>", page, re.DOTALL)
    assert "Firefox on Linux" in this and "this session" in this
    assert (
        "Safari on iPhone" in other and "192.0.2.7" in other and "active now" in other
    )
    ann.sessions.exclude(pk=name_of(here)).update(
        seen_at=timezone.now() - timedelta(hours=3)
    )
    assert "last active 3\xa0hours ago" in here.get(PAGE).content.decode()


@pytest.mark.parametrize(
    ("user_agent", "words"),
    [
        (FIREFOX, "Firefox on Linux"),
        (IPHONE, "Safari on iPhone"),
        (
            "Mozilla/5.0 (Windows NT 10.0) Chrome/131.0 Safari/537.36 Edg/131.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (Linux; Android 15) Chrome/131.0 Mobile Safari/537.36",
            "Chrome on Android",
        ),
        ("curl/8.0", "Unknown browser"),
        ("", "Unknown browser"),
        ("<script>alert(1)</script> Firefox " + "x" * 5000, "Firefox"),
        ("\x1b[31m\u202e Linux", "Linux"),
    ],
)
def test_browsers_are_told_apart(ann, sign_in, user_agent, words):
    client = sign_in("ann", HTTP_USER_AGENT=user_agent).client
    page = client.get(PAGE, HTTP_USER_AGENT=user_agent).content.decode()
    assert f"<b>{words}</b>" in page
    assert "<script>alert" not in page


def test_the_page_gives_no_keys_away(ann, sign_in):
    here, there = sign_in("ann").client, sign_in("ann").client
    page = here.get(PAGE).content.decode()
    assert key_of(here) not in page
    assert key_of(there) not in page


def test_one_ends_another_of_ones_sessions(ann, sign_in, signed_in):
    here, there = sign_in("ann").client, sign_in("ann").client
    page = here.get(PAGE).content.decode()
    [url] = re.findall(r'action="(/accounts/sessions/\w+/end/)"', page)
    assert here.post(url).headers["Location"] == PAGE
    assert signed_in(there) is None
    assert signed_in(here) == "Ann"
    assert here.post(url).status_code == 404


def test_one_ends_all_others(ann, sign_in, signed_in):
    here, *others = (sign_in("ann").client for _browser in range(3))
    here.post(f"{PAGE}end/")
    assert [signed_in(other) for other in others] == [None, None]
    assert signed_in(here) == "Ann"


def test_nobody_ends_a_session_of_another(ann, sign_in, signed_in, client):
    hers = sign_in("ann").client
    client.force_login(User.objects.create_user("mallory"))
    handle = Session.objects.get(pk=name_of(hers)).handle
    assert client.post(f"{PAGE}{handle}/end/").status_code == 404
    client.post(f"{PAGE}end/")
    assert signed_in(hers) == "Ann"


def test_the_pages_are_for_the_signed_in_and_end_by_post_only(ann, client, sign_in):
    for url in (PAGE, f"{PAGE}end/", f"{PAGE}abc/end/"):
        assert client.get(url).headers["Location"].startswith("/accounts/login/?next=")
    browser = sign_in("ann").client
    assert browser.get(f"{PAGE}end/").status_code == 405
    assert browser.get(f"{PAGE}abc/end/").status_code == 405
    assert browser.post(PAGE).status_code == 405


def test_last_seen_moves_with_use_but_not_at_every_request(ann, sign_in):
    browser = sign_in("ann").client
    browser.get(PAGE)
    long_ago = timezone.now() - timedelta(hours=3)
    ann.sessions.update(seen_at=long_ago)
    browser.get(PAGE)
    seen = ann.sessions.get().seen_at
    assert seen > long_ago
    browser.get(PAGE)
    assert ann.sessions.get().seen_at == seen


def test_the_browser_can_ask_whether_it_is_signed_in(ann, sign_in, client):
    url = "/accounts/session/"
    nobody = {"signed_in": False, "id": None, "name": None}
    assert json.loads(client.get(url).content) == nobody
    browser = sign_in("ann").client
    answer = browser.get(url)
    assert json.loads(answer.content) == {
        "signed_in": True,
        "id": ann.pk,
        "name": "Ann",
    }
    assert "no-store" in answer.headers["Cache-Control"]
    assert browser.post(url).status_code == 405


def test_a_page_asks_the_database_for_session_and_person_only(
    ann, sign_in, django_assert_num_queries
):
    browser = sign_in("ann").client
    browser.get("/accounts/session/")
    with django_assert_num_queries(2):
        browser.get("/accounts/session/")


def test_signing_out_empties_the_browsers_storage_and_nothing_else_does(ann, sign_in):
    browser = sign_in("ann").client
    assert "Clear-Site-Data" not in browser.get(PAGE).headers
    out = browser.post("/accounts/logout/")
    assert out.headers["Clear-Site-Data"] == '"storage"'  # not the cookies
    assert "Clear-Site-Data" not in browser.get(PAGE).headers
    browser = sign_in("ann").client
    ann.sessions.all().delete()
    assert "Clear-Site-Data" not in browser.get(PAGE).headers


# A session that ends is told to all who listen ------------------------------------


@pytest.mark.django_db(transaction=True)
class TestEnded:
    def test_by_signing_out(self, ann, sign_in, ended):
        browser = sign_in("ann").client
        name = name_of(browser)
        browser.post("/accounts/logout/")
        assert ended == {name: None}

    def test_from_the_page(self, ann, sign_in, ended):
        here, there = sign_in("ann").client, sign_in("ann").client
        here.post(f"{PAGE}end/")
        assert ended == {name_of(there): None}

    def test_by_a_new_password_elsewhere(self, ann, sign_in, ended, password):
        here, there = sign_in("ann").client, sign_in("ann").client
        before = name_of(here)
        data = {
            "oldpassword": password,
            "password1": "a new one 12",
            "password2": "a new one 12",
        }
        here.post("/accounts/password/change/", data)
        # The browser that did it goes on under another key.
        assert ended == {name_of(there): None, before: name_of(here)}

    def test_by_deactivating(self, ann, sign_in, ended):
        browser = sign_in("ann").client
        ann.is_active = False
        ann.save(update_fields=["is_active"])
        assert ended == {name_of(browser): None}

    def test_by_deleting_the_person(self, ann, sign_in, ended):
        browser = sign_in("ann").client
        User.objects.filter(pk=ann.pk).delete()
        assert ended == {name_of(browser): None}

    def test_by_sweeping_out_the_expired(self, ann, sign_in, ended):
        browser = sign_in("ann").client
        ann.sessions.update(expire_date=timezone.now() - timedelta(seconds=1))
        call_command("clearsessions")
        assert ended == {name_of(browser): None}

    def test_but_not_by_what_is_rolled_back(self, ann, sign_in, signed_in, ended):
        from django.db import transaction

        browser = sign_in("ann").client
        with transaction.atomic():
            ann.sessions.all().delete()
            transaction.set_rollback(True)
        assert ended == {}
        assert signed_in(browser) == "Ann"


# The key is the browser's alone -------------------------------------------------------


def test_no_table_holds_a_key(ann, sign_in):
    key = key_of(sign_in("ann").client)
    [row] = Session.objects.values()
    assert key not in str(row)
    assert row["session_key"] == Session.hash_of(key)


def test_who_reads_the_table_cannot_sign_in_with_it(ann, sign_in, signed_in):
    name = name_of(sign_in("ann").client)
    for stolen in (name, name[:32]):
        thief = Client(headers={"cookie": f"sessionid={stolen}"})
        assert signed_in(thief) is None
        assert person_of(stolen) is None


@pytest.mark.django_db(transaction=True)
def test_a_cookie_of_the_former_release_stays_good(ann, sign_in, signed_in):
    browsers = [sign_in("ann").client for _browser in range(2)]
    rows = {key_of(browser): row_of(browser) for browser in browsers}
    former = migrate([("accounts", "0002_security_record")])
    former = former.get_model("accounts", "Session")
    former.objects.bulk_create(
        former(**row | {"session_key": key}) for key, row in rows.items()
    )
    migrate(MigrationLoader(None).graph.leaf_nodes())
    assert [signed_in(browser) for browser in browsers] == ["Ann", "Ann"]
    assert {row.pk for row in Session.objects.all()} == set(map(name_of, browsers))


def row_of(client):
    return Session.objects.filter(pk=name_of(client)).values().get()


def migrate(targets):
    """Bring the database to these migrations; the models as they are then."""
    return MigrationExecutor(connection).migrate(targets).apps


def test_the_async_engine_knows_the_same_sessions(ann, sign_in):
    key = key_of(sign_in("ann").client)
    assert async_to_sync(SessionStore(key).aload)()["_auth_user_id"] == str(ann.pk)
    assert async_to_sync(SessionStore().aexists)(key)
    async_to_sync(SessionStore(key).adelete)()
    assert not Session.objects.exists()
    assert async_to_sync(SessionStore(key).aload)() == {}


# Whose session it is, for sockets -------------------------------------------------


def test_a_session_tells_its_person_by_one_query(
    ann, sign_in, django_assert_num_queries
):
    key = key_of(sign_in("ann").client)
    with django_assert_num_queries(1):
        assert person_of(key) == ann


@pytest.mark.parametrize(
    "key", [None, "", "x", "a" * 32, "A" * 32, "\0" * 32, "é" * 32, "a" * 100_000]
)
def test_an_invented_key_is_nobodys(db, key):
    assert person_of(key) is None


def test_an_anonymous_session_is_nobodys(db):
    store = SessionStore()
    store.create()
    assert person_of(store.session_key) is None


def test_an_expired_or_ended_session_and_the_inactive_are_nobody(ann, sign_in):
    expired, ended, inactive = (key_of(sign_in("ann").client) for _each in range(3))
    row = Session.objects.filter(pk=Session.hash_of(expired))
    row.update(expire_date=timezone.now())
    SessionStore(ended).flush()
    assert person_of(expired) is person_of(ended) is None
    assert person_of(inactive) == ann
    User.objects.update(is_active=False)  # as by SQL, past save()
    assert person_of(inactive) is None
    assert alive([Session.hash_of(inactive)]) == set()


def test_a_password_changed_past_save_makes_the_session_nobodys(ann, sign_in):
    key = key_of(sign_in("ann").client)
    User.objects.update(password="!")
    assert person_of(key) is None


def test_a_socket_survives_a_new_secret_key_and_changes_nothing(
    ann, sign_in, signed_in, settings
):
    browser = sign_in("ann").client
    before = Session.objects.get().session_data
    settings.SECRET_KEY_FALLBACKS, settings.SECRET_KEY = [settings.SECRET_KEY], "n" * 50
    assert person_of(key_of(browser)) == ann
    assert Session.objects.get().session_data == before
    assert signed_in(browser) == "Ann"
    settings.SECRET_KEY_FALLBACKS = []
    assert person_of(key_of(browser)) == ann


def test_a_secret_key_that_is_forgotten_ends_all(ann, sign_in, settings):
    key = key_of(sign_in("ann").client)
    settings.SECRET_KEY = "n" * 50
    assert person_of(key) is None
    assert Session.objects.filter(pk=Session.hash_of(key)).exists()


def test_which_sessions_live_is_one_query(ann, sign_in, django_assert_num_queries):
    live, dead = (sign_in("ann").client for _browser in range(2))
    SessionStore(key_of(dead)).delete()
    with django_assert_num_queries(1):
        assert alive({name_of(live), name_of(dead), "a" * 64}) == {name_of(live)}


# Cookies that nobody was given ----------------------------------------------------


@pytest.mark.parametrize(
    "cookie",
    [
        "",
        "short",
        '"' + "a" * 28 + '\\000\\000\\000\\000"',
        "a" * 32,
        "A" * 32,
        "a" * 8192,
        "' OR 1=1 --" * 3,
        "ж".encode().decode("latin-1") * 32,
        "../../../../etc/passwd/aaaaaaaaa",
    ],
)
def test_an_invented_cookie_is_that_of_a_stranger(ann, cookie):
    stranger = Client(headers={"cookie": f"sessionid={cookie}; csrftoken={cookie}"})
    answer = stranger.get("/accounts/session/")
    assert answer.json()["signed_in"] is False
    assert stranger.get("/accounts/login/").status_code == 200
    assert not Session.objects.exists()


def test_a_session_cannot_be_fixed_by_who_knew_it_before(ann, sign_in, client):
    client.get("/accounts/password/reset/key/1-abc/")
    session = client.session
    session["something"] = 1
    session.save()
    before = key_of(client)
    sign_in("ann", client=client)
    assert key_of(client) != before
    assert person_of(before) is None
