"""Russian: all of it, and nothing but it. `make messages` gathers and compiles it."""

import asyncio
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from allauth.account.models import EmailAddress
from asgiref.sync import sync_to_async
from babel.messages.extract import DEFAULT_KEYWORDS, extract
from babel.messages.mofile import read_mo
from babel.messages.pofile import read_po
from django.core.cache import caches
from django.template.loader import render_to_string
from django.test import Client
from django.utils import translation
from django.utils.translation.template import templatize

from messaging.commands import COMMANDS
from tests.support.room_client import RoomClient, sign_in
from tests.support.second_factors import FACTORS, codes_on, set_up_app

ROOT = Path(__file__).resolve().parent.parent
RUSSIAN = ROOT / "locale" / "ru" / "LC_MESSAGES" / "django"
FOLDERS = ("accounts", "config", "messaging", "rooms", "templates")
LAZY = {
    "gettext_lazy": None,
    "ngettext_lazy": (1, 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext_lazy": ((1, "c"), 2, 3),
}


@pytest.fixture(scope="module")
def catalog():
    with RUSSIAN.with_suffix(".po").open("rb") as file:
        return read_po(file, abort_invalid=True)


def forms(text):
    """One form, or those of a plural, as a tuple."""
    return (text,) if isinstance(text, str) else tuple(text)


def messages(catalog):
    """{(context, forms): translated forms} without the header."""
    return {
        (text(one.context), forms(one.id)): forms(one.string)
        for one in catalog
        if one.id
    }


def text(context):
    """Babel leaves the contexts of a compiled file as bytes."""
    return context.decode() if isinstance(context, bytes) else context


# The catalogue ----------------------------------------------------------------------


def sources():
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*.*")):
            if path.suffix in (".py", ".html", ".txt"):
                yield path


def words_of(path):
    """{(context, forms)} of what a file has translated, as `makemessages` finds it."""
    code = path.read_text()
    if path.suffix != ".py":
        code = templatize(code).replace("\n", " ")
    found = extract("python", io.BytesIO(code.encode()), DEFAULT_KEYWORDS | LAZY)
    return {(context, forms(id)) for _line, id, _comments, context in found}


def test_words_are_found_in_code_and_in_templates(tmp_path):
    files = {
        "a.py": 'x = _("a %(b)s" " c"), ngettext("one", "many", n)\n'
        'name = NameField(pgettext_lazy("x", "d"))',
        "b.html": '<p>\n  {% translate "a" %} {{ x|default:_("b") }} {# "no" #}'
        '{% blocktranslate count n=n %}{{ n }} "c"{% plural %}cs{% endblocktranslate %}'
        '{% translate "d" context "x" %}',
    }
    found = {}
    for name, code in files.items():
        (tmp_path / name).write_text(code)
        found[name] = words_of(tmp_path / name)
    assert found == {
        "a.py": {
            (None, ("a %(b)s c",)),
            (None, ("one", "many")),
            ("x", ("d",)),
        },
        "b.html": {
            (None, ("a",)),
            (None, ("b",)),
            (None, ('%(n)s "c"', "cs")),
            ("x", ("d",)),
        },
    }


def test_all_words_are_translated(catalog):
    translated = messages(catalog).keys()
    missing = {
        path.relative_to(ROOT).as_posix(): sorted(map(str, left))
        for path in sources()
        if (left := words_of(path) - translated)
    }
    assert not missing, "run `make messages`, and translate what is new"


def test_no_translation_is_empty_or_doubtful(catalog):
    doubtful = [
        one.id
        for one in catalog
        if one.id and (one.fuzzy or not all(forms(one.string)))
    ]
    assert len(messages(catalog)) > 300
    assert not doubtful
    assert not catalog.obsolete


def test_every_count_has_its_form(catalog):
    for one in catalog:
        if isinstance(one.id, tuple):
            assert len(one.string) == catalog.num_plurals == 3, one.id


def slots(text):
    """What a translation must keep: places to fill, and tags."""
    return sorted(re.findall(r"%\(\w+\)\w|%%|%[^(%]|</?\w+>", text))


def test_a_translation_has_the_slots_of_its_sentence(catalog):
    for one in filter(lambda one: one.id, catalog):
        kept = {tuple(slots(text)) for text in forms(one.string)}
        for text in forms(one.id):
            assert kept == {tuple(slots(text))}, one.id


def test_the_compiled_file_is_up_to_date(catalog):
    """It is committed: who runs a chat has no gettext."""
    with RUSSIAN.with_suffix(".mo").open("rb") as file:
        compiled = messages(read_mo(file))
    assert compiled == messages(catalog), "run `make messages`"


# The pages --------------------------------------------------------------------------

# What is Latin in Russian, too; and the cast.
NAMES = {
    "Rollcall",
    "JavaScript",
    "Enter",
    "English",
    "Firefox",
    "Maya",
    "MA",
    "Igor",
    "IG",
    "Bob",
    "QR",
    "https",
}
CAST = {"alice", "bob", "carol", "stranger", "lobby", "Anything"}
SPOKEN = {"alt", "aria-label", "placeholder", "title"}


class TextOfPage(HTMLParser):
    """Gathers all that a page shows or says."""

    def __init__(self):
        super().__init__()
        self.texts = []
        self._silent = False

    def handle_starttag(self, tag, attributes):
        self._silent = tag in ("script", "style")
        self.texts += [text for name, text in attributes if name in SPOKEN and text]

    def handle_endtag(self, tag):
        self._silent = False

    def handle_data(self, data):
        if not self._silent:
            self.texts.append(data)


def latin(text):
    """The words of a text in our letters, but for names and commands."""
    words = re.findall(r"(?<![\w/])[A-Za-z]{2,}", text)
    return [word for word in words if word not in NAMES | CAST | COMMANDS.keys()]


def english(page):
    reader = TextOfPage()
    reader.feed(page)
    return [left for text in reader.texts if (left := latin(text))]


SIGN_UP = {"username": "3", "email": "x", "password1": "1234", "password2": "2"}


@pytest.fixture
def russian(room, browse):
    """russian(user): the test client of a Russian browser."""
    for cache in caches.all(initialized_only=True):
        cache.clear()  # limits on attempts
    headers = {"accept-language": "ru,en;q=0.5", "user-agent": "Firefox"}
    return lambda user=None, **options: browse(user, headers=headers, **options)


def assert_russian(answer, status=200):
    page = answer.content.decode()
    assert answer.status_code == status
    assert '<html lang="ru" dir="ltr">' in page
    assert english(page) == []


def test_english_is_found(room, alice, browse):
    assert ["Rooms"] in english(browse(alice).get("/rooms/lobby/").content.decode())
    assert english('<p title="Close">да') == [["Close"]]
    assert english("<template><p>Left <b>now</b></template>") == [["Left"], ["now"]]


@pytest.mark.parametrize(
    "address",
    [
        "login/",
        "signup/",
        "inactive/",
        "confirm-email/",
        "confirm-email/abc/",
        "password/reset/",
        "password/reset/done/",
        "password/reset/key/1-abc/",
        "password/reset/key/done/",
    ],
)
def test_a_stranger_reads_russian(address, russian):
    assert_russian(russian().get(f"/accounts/{address}"))


@pytest.mark.parametrize(
    "address",
    [
        "/rooms/",
        "/rooms/new/",
        "/rooms/lobby/",
        "/accounts/",
        "/accounts/password/change/",
        "/accounts/sessions/",
        "/accounts/logout/",
        "/accounts/reauthenticate/",
    ],
)
def test_a_member_reads_russian(address, alice, russian):
    alice.set_password("x")
    alice.save()
    assert_russian(russian(alice).get(address))


def test_who_may_join_reads_russian(room, alice, stranger, russian):
    client = russian(stranger)
    assert_russian(client.get("/rooms/lobby/"))
    room.archive(alice)
    assert_russian(client.get("/rooms/lobby/"))
    assert_russian(client.post("/rooms/lobby/join/", follow=True))


def test_the_first_visitor_reads_russian(db, client):
    headers = {"accept-language": "ru"}
    assert_russian(client.get("/welcome/", headers=headers))
    assert_russian(client.get("/accounts/signup/", headers=headers))
    assert_russian(client.post("/welcome/", SIGN_UP, headers=headers), status=422)


@pytest.mark.parametrize(
    ("address", "fields"),
    [
        ("login/", {}),
        ("login/", {"login": "alice", "password": "no"}),
        ("signup/", {}),
        ("signup/", SIGN_UP),
        ("signup/", SIGN_UP | {"username": "Alice", "password2": "1234"}),
        ("password/reset/", {}),
        ("password/reset/", {"email": "x"}),
    ],
)
def test_what_is_wrong_is_told_in_russian(address, fields, russian):
    answer = russian().post(f"/accounts/{address}", fields)
    assert 'class="errors' in answer.content.decode()
    assert_russian(answer)


def test_the_set_up_code_is_asked_for_in_russian(db, client, settings):
    settings.ON_LOOPBACK = False
    answer = client.get("/welcome/", headers={"accept-language": "ru"})
    assert english(answer.content.decode()) == [["manage", "py", "setup"]]


def without_key(answer):
    answer.content = re.sub(rb'class="key">\w+<', b'class="key"><', answer.content)
    return answer


@pytest.mark.django_db(transaction=True)
def test_the_second_factor_is_russian(alice, russian, mailoutbox):
    alice.email = "alice@example.org"
    alice.save()
    EmailAddress.objects.create(user=alice, email=alice.email, primary=True)
    client = russian(alice)
    for page in ("", "webauthn/", "webauthn/add/"):
        assert_russian(client.get(FACTORS + page))
    activate = f"{FACTORS}totp/activate/"
    assert_russian(without_key(client.get(activate)))
    assert_russian(without_key(client.post(activate, {"code": "123"})))
    _app, page = set_up_app(client)
    assert codes_on(page)
    assert english(page) == []
    for page in ("", "reauthenticate/", "recovery-codes/"):
        assert_russian(client.get(FACTORS + page))
    for page in ("totp/deactivate/", "recovery-codes/generate/"):
        assert_russian(client.get(FACTORS + page))
    client.post(f"{FACTORS}recovery-codes/generate/")
    client.post(f"{FACTORS}totp/deactivate/")
    assert_russian(client.get(FACTORS))
    assert len(mailoutbox) == 3
    for letter in mailoutbox:
        without_links = re.sub(r"https?://\S+|\S+@\S+", "", letter.body)
        assert latin(letter.subject + without_links) == []


def test_faults_are_told_in_russian(alice, russian):
    assert_russian(russian(alice).get("/nowhere/"), status=404)
    strict = russian(alice, enforce_csrf_checks=True)
    assert_russian(strict.post("/rooms/new/"), status=403)
    with translation.override("ru"):
        for page in ("400.html", "403.html", "429.html", "500.html"):
            assert english(render_to_string(page)) == []


ACTS = {
    "kick": {"user": "nobody"},
    "role": {"user": "bob", "role": "king"},
    "topic": {"topic": "x" * 201},
    "clear": {"reason": "\x07"},
    "restore": {"seq": "1"},
    "leave": {},
}


@pytest.mark.parametrize("act", ACTS)
def test_a_refusal_is_russian(act, alice, russian):
    headers = {"accept": "application/json"}
    client = russian(alice)
    answer = client.post(f"/rooms/lobby/{act}/", ACTS[act], headers=headers)
    assert answer.status_code in (400, 403)
    assert latin(answer.json()["detail"]) == []


def test_letters_are_russian(alice, russian, mailoutbox):
    alice.set_password("correct horse battery")
    alice.email = "alice@example.org"
    alice.save()
    reset = "/accounts/password/reset/"
    russian().post(reset, {"email": "alice@example.org"})
    russian().post(reset, {"email": "nobody@example.org"})
    passwords = {
        "oldpassword": "correct horse battery",
        "password1": "battery horse correct",
        "password2": "battery horse correct",
    }
    client = russian(alice)
    client.post("/accounts/password/change/", passwords)
    assert len(mailoutbox) == 3
    for letter in mailoutbox:
        without_links = re.sub(r"https?://\S+|\S+@\S+", "", letter.body)
        assert latin(letter.subject + without_links) == []


# The choice -------------------------------------------------------------------------


def test_the_chosen_language_beats_that_of_the_browser(alice, russian):
    client = russian(alice)
    assert_russian(client.get("/rooms/"))
    client.post("/accounts/language/", {"language": "en", "next": "/rooms/"})
    assert '<html lang="en"' in client.get("/rooms/").content.decode()


@sync_to_async
def chosen(language):
    """The cookie that the page of one's account sets."""
    client = Client()
    client.post("/accounts/language/", {"language": language})
    return "; ".join(f"{name}={one.value}" for name, one in client.cookies.items())


def told(frame):
    return frame.get("text") or frame["detail"]


@pytest.mark.django_db(transaction=True)
async def test_each_socket_speaks_the_language_of_its_person(
    serve, room, alice, bob, carol
):
    """Also where writer and hub, which serve both, tell them what is refused."""
    server = serve()

    async def page(user, cookie="", **headers):
        key = await sign_in(user)
        headers["Cookie"] = f"sessionid={key}; {cookie}"
        return RoomClient(server, room, key, additional_headers=headers)

    accepted = {"Accept-Language": "ru"}
    async with (
        await page(bob, **accepted) as russian,
        await page(carol, await chosen("en"), **accepted) as english,
        await page(alice, await chosen("ru")) as chooser,
    ):
        assert told(await russian.post("/fly")).startswith("Неизвестная команда: /fly.")
        assert told(await english.post("/fly")).startswith("Unknown command: /fly.")
        assert told(await chooser.post("/help")).startswith("/me машет рукой")
        assert told(await russian.post("/clear")) == "Здесь у вас нет на это прав."
        assert told(await russian.post("")) == "Сообщение пустое."
        await sync_to_async(room.archive)(alice)
        refused = await asyncio.gather(russian.post("a"), english.post("b"))
        assert list(map(told, refused)) == [
            "Эта комната в архиве.",
            "This room is archived.",
        ]
        for person in (bob, carol):
            await sync_to_async(room.kick)(person, by=alice)
        assert await russian.closed() == await english.closed() == 4403
        assert told(russian.frames[-1]) == "Вы больше не состоите в этой комнате."
        assert told(english.frames[-1]) == "You’re no longer a member of this room."
