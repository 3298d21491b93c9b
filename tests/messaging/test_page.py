"""The room's page in a real browser, before a real server."""

import re

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import expect

from messaging import protocol
from messaging.rendering.markdown import to_html
from messaging.writing.requests import PostMessage, write_batch
from rooms.models import Room
from tests.support.fixtures import make_person

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]

SCREEN = {"width": 1360, "height": 820}
# All rows as a person sees them: what they say and who says it.
ROWS = """() => [...document.querySelectorAll("#rows .row")].map((row) => [
    row.dataset.seq,
    row.className,
    row.innerText,
    row.querySelector(".body")?.innerHTML,
])"""


@pytest.fixture
def server(serve, request):
    return serve(**getattr(request, "param", {}))


@pytest.fixture
def visit(browser, server):
    """visit(user, path): a page of a browser of their own, signed in, at the path."""
    contexts, faults = [], []

    def note(line):
        # A line that is cut on purpose makes the browser complain of it.
        cut = "WebSocket" in line.text or "ERR_" in line.text
        if line.type == "error" and not cut:
            faults.append(line.text)

    def visit(user, path, **options):
        context = browser.new_context(viewport=SCREEN, **options)
        contexts.append(context)
        context.on("console", note)
        context.on("weberror", lambda fault: faults.append(str(fault.error)))
        cookie = {"name": settings.SESSION_COOKIE_NAME, "url": server.url}
        context.add_cookies([{**cookie, "value": session_of(user)}])
        page = context.new_page()
        page.goto(server.url + path)
        return page

    yield visit
    for context in contexts:
        context.close()
    assert faults == []


def session_of(user):
    client = Client()
    client.force_login(user)
    return client.session.session_key


def is_live(page):
    expect(page.locator("#status")).to_contain_text("Connected", timeout=15_000)
    return page


def say(page, text):
    page.locator("#say").fill(text)
    page.keyboard.press("Enter")


def row(page, text):
    return page.locator("#rows .row", has_text=text)


def shown(page):
    return page.evaluate(ROWS)


def assert_equals_fresh_load(page):
    """Page + events = fresh load: what stands here is what a reload would show."""
    is_live(page)
    expect(page.locator("#pending .row")).to_have_count(0)
    live = shown(page)
    fresh = page.context.new_page()
    fresh.goto(page.url)
    is_live(fresh)
    loaded = shown(fresh)
    fresh.close()
    # A long-lived page has more of the past, and a reload may add nothing of its own.
    assert loaded
    assert live[-len(loaded) :] == loaded or loaded[-len(live) :] == live


def talk(room, user, count):
    """Messages `line 1` … straight into the log."""
    for start in range(1, count + 1, 100):
        numbers = range(start, min(start + 100, count + 1))
        write_batch(
            [PostMessage(room.pk, user, f"old-{n}", f"line {n}") for n in numbers]
        )


def test_two_people_talk(visit, room, alice, bob):
    one = is_live(visit(alice, "/rooms/lobby/"))
    two = is_live(visit(bob, "/rooms/lobby/"))
    expect(one.locator("#here")).to_contain_text("bob")
    say(one, "hello **bob**")
    expect(row(two, "hello bob").locator("strong")).to_have_text("bob")
    say(two, "hello alice")
    say(two, "and a second line")
    expect(row(one, "hello alice")).to_have_class(re.compile("first"))
    expect(row(one, "and a second line")).not_to_have_class(re.compile("first"))
    expect(one.locator("#pending .row")).to_have_count(0)
    expect(row(one, "hello bob")).to_have_count(1)
    assert_equals_fresh_load(one)
    assert_equals_fresh_load(two)


def test_shift_enter_breaks_the_line(visit, room, alice):
    page = is_live(visit(alice, "/rooms/lobby/"))
    page.locator("#say").press_sequentially("one")
    page.keyboard.press("Shift+Enter")
    page.locator("#say").press_sequentially("two")
    page.keyboard.press("Enter")
    expect(row(page, "one").locator("br")).to_have_count(1)


def test_nothing_can_be_slipped_into_a_page(visit, room, alice, bob):
    one, two = visit(alice, "/rooms/lobby/"), visit(bob, "/rooms/lobby/")
    is_live(one), is_live(two)
    say(two, "<img src=x onerror=document.title='caught'> [x](javascript:alert(1))")
    expect(row(one, "<img src=x")).to_have_count(1)
    assert one.title() != "caught"
    assert one.locator("#rows img, #rows [onerror]").count() == 0
    assert one.locator("#rows a[href^=javascript]").count() == 0


def scroll_to_the_beginning(page):
    for _nth in range(30):
        before = page.locator("#rows .row.message").count()
        page.locator("#timeline").evaluate("frame => frame.scrollTop = 0")
        page.wait_for_timeout(150)
        if page.locator("#beginning").is_visible():
            break
        page.wait_for_function(
            "n => document.querySelectorAll('#rows .row.message').length > n"
            " || !document.querySelector('#beginning').hidden",
            arg=before,
        )
    expect(page.locator("#beginning")).to_be_visible()


def test_the_whole_history_by_scrolling_back(visit, room, alice):
    talk(room, alice, 300)
    page = is_live(visit(alice, "/rooms/lobby/"))
    expect(row(page, "line 300").first).to_be_visible()
    assert row(page, re.compile(r"line 1$")).count() == 0
    scroll_to_the_beginning(page)
    seqs = [int(row[0]) for row in shown(page) if row[0]]
    assert seqs == list(range(1, seqs[-1] + 1))
    page.locator("#jump").click()
    expect(row(page, "line 300").first).to_be_in_viewport()


def test_long_messages_load_by_scrolling_back_though_fewer_come_at_a_time(
    visit, room, alice
):
    says = [
        PostMessage(room.pk, alice, f"long-{n}", f"line {n} " + "<" * 7_000)
        for n in range(1, 81)
    ]
    write_batch(says)
    page = is_live(visit(alice, "/rooms/lobby/"))
    scroll_to_the_beginning(page)
    seqs = [int(row[0]) for row in shown(page) if row[0]]
    assert seqs == list(range(1, seqs[-1] + 1))
    assert seqs[-1] >= 84


def test_scrolling_back_keeps_the_place(visit, room, alice):
    talk(room, alice, 300)
    page = is_live(visit(alice, "/rooms/lobby/"))
    page.wait_for_timeout(500)
    # In one breath, so that nothing can be loaded in between.
    seq, before = page.locator("#timeline").evaluate(
        """frame => {
            frame.scrollTop = 40
            const lines = [...frame.querySelectorAll("#rows .message")]
            const line = lines[3]
            return [line.dataset.seq, line.getBoundingClientRect().top]
        }"""
    )
    page.wait_for_function(
        "seq => document.querySelectorAll('#rows .message')[3].dataset.seq !== seq",
        arg=seq,
    )
    page.wait_for_timeout(500)
    after = page.locator(f"#rows [data-seq='{seq}']").bounding_box()["y"]
    assert abs(after - before) < 3


def test_a_draft_survives_a_reload(visit, room, alice):
    page = is_live(visit(alice, "/rooms/lobby/"))
    page.locator("#say").fill("half a thought")
    page.wait_for_timeout(600)
    page.reload()
    expect(page.locator("#say")).to_have_value("half a thought")


def test_the_line_is_lost_and_regained(visit, server, room, alice, bob):
    """What was typed meanwhile is sent once, what was said meanwhile comes once."""
    page = is_live(visit(alice, "/rooms/lobby/"))
    other = is_live(visit(bob, "/rooms/lobby/"))
    say(page, "before")
    expect(row(other, "before")).to_have_count(1)
    page.context.set_offline(True)
    expect(page.locator("#status")).not_to_contain_text("Connected", timeout=15_000)
    say(page, "typed while away")
    expect(page.locator("#pending .row")).to_have_count(1)
    say(other, "said while away")
    expect(row(other, "said while away")).to_have_count(1)
    page.context.set_offline(False)
    is_live(page)
    for reader in (page, other):
        expect(row(reader, "typed while away")).to_have_count(1)
        expect(row(reader, "said while away")).to_have_count(1)
    assert_equals_fresh_load(page)


def test_the_server_dies_and_comes_back(visit, server, room, alice):
    page = is_live(visit(alice, "/rooms/lobby/"))
    say(page, "before")
    expect(row(page, "before")).to_have_count(1)
    server.kill()
    expect(page.locator("#status")).not_to_contain_text("Connected", timeout=15_000)
    say(page, "into the void")
    expect(page.locator("#pending .row")).to_have_count(1)
    server.start()
    expect(row(page, "into the void")).to_have_count(1, timeout=40_000)
    expect(page.locator("#pending .row")).to_have_count(0)
    assert_equals_fresh_load(page)


def test_what_was_not_sent_survives_a_reload(visit, room, alice):
    page = is_live(visit(alice, "/rooms/lobby/"))
    page.route_web_socket(re.compile("/ws/"), lambda socket: socket.close())
    page.reload()
    say(page, "kept")
    expect(page.locator("#pending .row")).to_contain_text("kept")
    again = page.context.new_page()
    again.goto(page.url)
    page.close()
    expect(row(again, "kept")).to_have_count(1, timeout=40_000)


def test_a_kick_is_shown_with_its_reason(visit, room, alice, bob):
    one, two = is_live(visit(alice, "/rooms/lobby/")), visit(bob, "/rooms/lobby/")
    is_live(two)
    two.locator("#say").fill("what I was about to say")
    one.locator("#here .person", has_text="bob").click()
    one.get_by_role("button", name="Remove from room…").click()
    sentence = "They can’t join again for 10 minutes."
    expect(one.locator("#kick-dialog")).to_contain_text(sentence)
    one.locator("#kick-field").fill("be nice")
    one.locator("#kick-dialog button[type=submit]").click()
    expect(two.locator("#rows")).to_contain_text("be nice")
    expect(two.locator("#banner")).to_be_visible()
    expect(two.locator("#banner a")).to_have_attribute("href", "/rooms/")
    expect(two.locator("#say")).to_have_value("what I was about to say")
    expect(one.locator("#rows")).to_contain_text("bob was removed by alice")
    expect(one.locator("#here")).not_to_contain_text("bob")
    expect(two.locator("#banner")).to_contain_text("You can join again at")
    two.goto(two.url)
    sentence = "You were removed from this room by alice: “be nice”."
    expect(two.locator(".note")).to_contain_text(sentence)
    expect(two.get_by_role("button", name=re.compile("Join"))).to_have_count(0)


def test_a_clear_hides_and_a_restore_brings_back(visit, room, alice, bob):
    one, two = visit(alice, "/rooms/lobby/"), visit(bob, "/rooms/lobby/")
    is_live(one), is_live(two)
    say(one, "a secret")
    expect(row(two, "a secret")).to_have_count(1)
    say(one, "/clear too much")
    for page in (one, two):
        expect(row(page, "too much")).to_have_count(1)
        expect(row(page, "a secret")).to_have_count(0)
        expect(page.locator("#pending .row")).to_have_count(0)
    expect(two.get_by_role("button", name="Restore")).to_have_count(0)
    assert_equals_fresh_load(two)
    one.get_by_role("button", name="Restore").click()
    for page in (one, two):
        expect(row(page, "a secret")).to_have_count(1)
    assert_equals_fresh_load(two)


def test_a_room_that_is_archived_offers_no_topic_and_no_clear(visit, room, alice):
    page = is_live(visit(alice, "/rooms/lobby/"))
    offered = page.locator("#room-menu [data-opens]")
    menu = page.get_by_role("button", name="Room menu")
    topic, leave = (offered.filter(has_text=word) for word in ("topic", "Leave"))
    menu.click()
    expect(topic).to_be_visible()
    menu.click()
    room.archive(alice)
    expect(page.locator("#archived")).to_be_visible()
    menu.click()
    expect(leave).to_be_visible()
    expect(topic).to_be_hidden()
    expect(offered.filter(has_text="Clear")).to_be_hidden()
    room.archive(alice, archived=False)
    expect(topic).to_be_visible()


def test_an_owner_deletes_a_room_by_the_keyboard(visit, room, alice, bob):
    one, two = is_live(visit(alice, "/rooms/lobby/")), visit(bob, "/rooms/lobby/")
    is_live(two)
    expect(two.locator('[data-opens="delete_room"]')).to_be_hidden()
    one.get_by_role("button", name="Room menu").press("Enter")
    item = one.get_by_role("button", name="Delete room…")
    item.press("Enter")
    dialog = one.get_by_role("dialog", name="Delete lobby?")
    expect(dialog).to_contain_text("An administrator can recover it for 30 days")
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    one.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    one.get_by_role("button", name="Room menu").press("Enter")
    item.press("Enter")
    one.keyboard.press("Shift+Tab")
    expect(dialog.get_by_role("button", name="Delete room")).to_be_focused()
    one.keyboard.press("Enter")
    one.wait_for_url("**/rooms/")
    expect(one.locator("[data-room=lobby]")).to_have_count(0)
    expect(two.locator("#banner")).to_contain_text("This room was deleted.")
    expect(two.locator("#status")).to_contain_text("Not connected")


def test_a_command_is_answered_for_its_sender_alone(visit, room, alice, bob):
    one, two = visit(alice, "/rooms/lobby/"), visit(bob, "/rooms/lobby/")
    is_live(one), is_live(two)
    say(two, "/dance")
    expect(two.locator(".notice")).to_contain_text("/dance")
    expect(two.locator("#pending .row")).to_have_count(0)
    say(two, "/topic mine")
    expect(two.locator("#pending .row")).to_contain_text(
        "You don’t have permission to do that here"
    )
    two.get_by_role("button", name="Discard").click()
    expect(two.locator("#pending .row")).to_have_count(0)
    assert one.locator(".notice").count() == 0


def test_signing_out_elsewhere_closes_the_page_and_keeps_what_was_typed(
    visit, server, room, bob
):
    page = is_live(visit(bob, "/rooms/lobby/"))
    page.locator("#say").fill("unsaid")
    other = visit(bob, "/accounts/sessions/")
    other.get_by_role("button", name="Sign out everywhere else").click()
    expect(page.locator("#banner")).to_contain_text("signed out", timeout=5_000)
    expect(page.locator("#say")).to_have_value("unsaid")
    href = page.locator("#banner a").get_attribute("href")
    assert href == "/accounts/login/?next=/rooms/lobby/"


def test_head_counts_are_live_in_the_list_and_beside_a_room(
    visit, room, alice, bob, carol
):
    other = Room.objects.create_with_owner("other", alice)
    tabs = [visit(alice, "/rooms/"), visit(make_person("newcomer"), "/rooms/")]
    tabs.append(is_live(visit(alice, other.get_absolute_url())))
    counts = [tab.locator("[data-room=lobby] [data-here]") for tab in tabs]
    for count in counts:
        expect(count).to_have_text("0")
    is_live(visit(bob, "/rooms/lobby/"))
    for count in counts:
        expect(count).to_have_text("1", timeout=6_000)
    is_live(visit(carol, "/rooms/lobby/"))
    for count in counts:
        expect(count).to_have_text("2", timeout=6_000)


@pytest.mark.parametrize("server", [{"SOCKETS_PER_PERSON": 1}], indirect=True)
def test_a_tab_too_many_says_what_to_do_and_waits(visit, server, room, bob):
    first = is_live(visit(bob, "/rooms/lobby/"))
    second, opened = first.context.new_page(), []
    second.on("websocket", lambda socket: opened.append(socket.url))
    second.clock.install()
    second.goto(first.url)
    banner = second.locator("#banner")
    expect(banner).to_have_text(
        "You have 1 connection open, which is the limit. Close some tabs and this page "
        "will reconnect."
    )
    second.clock.run_for(58_000)  # it is not tried again and again
    assert len(opened) == 1
    expect(second.locator("#status")).to_contain_text("Reconnecting in")
    say(first, "the first stays as it is")
    expect(row(first, "the first stays as it is")).to_have_count(1)
    first.close()
    for _second in range(40):
        second.clock.run_for(1_000)
        if len(opened) > 1:
            break
    is_live(second)
    expect(banner).to_be_hidden()
    expect(row(second, "the first stays as it is")).to_have_count(1)
    assert len(opened) == 2


@pytest.mark.parametrize("scripts", [True, False])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1360])
def test_a_room_is_found_by_keyboard_with_scripts_or_without(
    visit, room, alice, bob, width, scheme, scripts
):
    for nth in range(40):
        Room.objects.create_with_owner(f"room-{nth}", alice, by_operator=True)
    Room.objects.create_with_owner("design", alice, topic="wide" * 40, by_operator=True)
    options = {"color_scheme": scheme, "java_script_enabled": scripts}
    page = visit(bob, "/rooms/", **options)
    page.set_viewport_size({"width": width, "height": 800})
    box = page.locator("main").bounding_box()
    assert box["x"] + box["width"] <= width
    page.get_by_role("link", name="More rooms").press("Enter")
    expect(page.get_by_role("link", name="room-9")).to_be_visible()
    page.get_by_role("link", name="Previous rooms").press("Enter")
    page.get_by_role("searchbox").focus()
    page.keyboard.type("DES")
    page.keyboard.press("Enter")
    expect(page.locator(".room-card")).to_have_count(1)
    page.get_by_role("button", name="Join design").press("Enter")
    expect(page).to_have_url(re.compile("/rooms/design/$"))
    expect(page.locator("h1")).to_contain_text("design")


def test_the_page_works_by_keyboard_alone(visit, room, alice):
    page = is_live(visit(alice, "/rooms/lobby/"))
    expect(page.locator("#say")).to_be_focused()
    page.keyboard.type("by keyboard")
    page.keyboard.press("Enter")
    expect(row(page, "by keyboard")).to_have_count(1)
    page.locator(".skip").focus()
    expect(page.locator(".skip")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#say")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 820, 1360])
def test_nothing_overflows(visit, room, alice, scheme, width):
    write_batch(
        [
            PostMessage(room.pk, alice, key, text, html=to_html(text))
            for key, text in {
                "wide": "```\n" + "x" * 400 + "\n```",
                "long": "w" * 1_000,
                "link": "https://example.org/" + "a" * 500,
            }.items()
        ]
    )
    page = visit(alice, "/rooms/lobby/", color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 780})
    is_live(page)
    wide = "document.documentElement.scrollWidth > innerWidth"
    assert not page.evaluate(wide)
    assert not page.locator("#timeline").evaluate("t => t.scrollWidth > t.clientWidth")


@pytest.mark.parametrize(
    ("language", "sentences"),
    [
        ("en", ["5 characters left", "1 character left", "2 characters too many"]),
        ("ru", ["Осталось 5 символов", "Остался 1 символ", "Лишние 2 символа"]),
    ],
)
def test_numbers_agree_with_their_nouns(visit, room, alice, language, sentences):
    page = visit(alice, "/rooms/lobby/", locale=language)
    for left, sentence in zip((5, 1, -2), sentences, strict=True):
        page.locator("#say").fill("x" * (protocol.MAX_BODY - left))
        expect(page.locator("[data-count]")).to_have_text(sentence)


def test_only_new_lines_of_others_are_announced(visit, room, alice, bob):
    talk(room, bob, 5)
    one, two = visit(alice, "/rooms/lobby/"), visit(bob, "/rooms/lobby/")
    is_live(one), is_live(two)
    say(one, "my own")
    say(two, "something new")
    expect(one.locator("#announcer")).to_contain_text("bob: something new")
    assert "line 5" not in one.locator("#announcer").inner_text()
    assert "my own" not in one.locator("#announcer").inner_text()
