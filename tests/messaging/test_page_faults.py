"""The room's page when frames are lost, doubled, late or refused on their way.

Between the page and a real server stands a line that can be bent. (What the page does
when all goes well is in test_page.py.)
"""

import json
import re
from pathlib import Path

import pytest
from django.conf import settings
from django.test import Client
from playwright.sync_api import expect

from messaging import protocol
from messaging.protocol import Close
from messaging.writing.requests import PostMessage, write_batch
from rooms.models import Event
from rooms.models.attendance import Cause
from rooms.rights import Role

pytestmark = pytest.mark.django_db(transaction=True)

ROWS = Path(__file__).parents[2] / "templates" / "messaging" / "rows.html"
SEQS = "rows => rows.map(row => Number(row.dataset.seq))"
DRAWN = """count => [...document.querySelectorAll("#rows [data-seq]")].slice(-count)
    .map(row => [row.dataset.seq, row.classList[1], row.textContent])"""
IS_AT_END = """() => {
    const box = document.querySelector("#timeline")
    return box.scrollHeight - box.scrollTop - box.clientHeight < 2
}"""
SET_HIDDEN = """isHidden => {
    const value = { get: () => isHidden, configurable: true }
    Object.defineProperty(document, "hidden", value)
    document.dispatchEvent(new Event("visibilitychange"))
}"""


class Tab:
    """One person's page of a room. All frames pass by `up` and `down`, which answer
    what goes on: [frame], nothing, or something else.
    """

    def __init__(self, context, url):
        self.page = context.new_page()
        self.posts = []
        self.up = self.down = lambda frame: [frame]
        self.page.route_web_socket(re.compile("/ws/"), self._join)
        self.page.goto(url)
        self.is_live()

    def _join(self, browser_side):
        self.browser_side = browser_side
        server_side = browser_side.connect_to_server()

        def sent(text):
            if json.loads(text)["type"] != "post":
                return server_side.send(text)
            self.posts.append(json.loads(text))
            for frame in self.up(text):
                server_side.send(frame)

        def received(text):
            for frame in self.down(text):
                browser_side.send(frame)

        browser_side.on_message(sent)
        server_side.on_message(received)

    def lose_the_line(self):
        self.browser_side.close(code=1001)

    def refuse(self, code):
        """From now on what the page sends is answered by this error."""

        def refusal(text):
            error = protocol.error(code, f"Refused: {code}.", json.loads(text)["key"])
            self.browser_side.send(error.decode())
            return []

        self.up = refusal

    @property
    def box(self):
        return self.page.locator("#say")

    @property
    def pending(self):
        return self.page.locator("#pending li")

    def is_live(self):
        status = self.page.locator("#status")
        expect(status).to_have_attribute("data-state", "live", timeout=15_000)

    def say(self, text):
        self.box.fill(text)
        self.box.press("Enter")

    def said(self, text):
        """The rows that say `text`, those without a number included."""
        return self.page.locator(".message", has_text=text)

    def bodies(self):
        return self.page.locator("#rows .message .body").all_inner_texts()

    def numbers(self):
        """The numbers on screen; AssertionError if one is missing or doubled."""
        seqs = self.page.eval_on_selector_all("#rows [data-seq]", SEQS)
        assert seqs == list(range(seqs[0], seqs[-1] + 1))
        return seqs

    def scroll_up(self):
        self.page.evaluate("document.querySelector('#timeline').scrollTop = 0")


@pytest.fixture
def enter(browser, serve):
    """enter(user, room): a Tab; each person has a browser of their own."""
    server = serve()
    contexts = {}

    def context_of(user):
        client = Client()
        client.force_login(user)
        name = settings.SESSION_COOKIE_NAME
        cookie = {"name": name, "value": client.cookies[name].value, "url": server.url}
        context = browser.new_context(locale="en-GB")
        context.add_cookies([cookie])
        return context

    def enter(user, room):
        if user not in contexts:
            contexts[user] = context_of(user)
        return Tab(contexts[user], f"{server.url}/rooms/{room.slug}/")

    yield enter
    for context in contexts.values():
        context.close()


def equals_a_fresh_page(tab, enter, user, room):
    """What has grown row by row looks as if it were loaded now."""
    fresh = enter(user, room)
    count = min(len(tab.numbers()), len(fresh.numbers()))
    assert tab.page.evaluate(DRAWN, count) == fresh.page.evaluate(DRAWN, count)


# What the page sends ----------------------------------------------------------------


def test_an_unanswered_line_is_sent_again_and_stored_once(enter, room, alice):
    tab = enter(alice, room)
    tab.down = lambda frame: []
    tab.say("is this on?")
    expect(tab.pending).to_have_count(1)
    tab.down = lambda frame: [frame]
    tab.lose_the_line()
    expect(tab.pending).to_have_count(0)
    expect(tab.said("is this on?")).to_have_count(1)
    assert len(tab.posts) == 2
    assert tab.posts[0] == tab.posts[1]
    equals_a_fresh_page(tab, enter, alice, room)


def test_two_tabs_send_a_line_that_was_left_behind_once(enter, room, alice):
    stuck = enter(alice, room)
    stuck.up = lambda frame: []
    stuck.say("left behind")
    expect(stuck.pending).to_have_count(1)
    other = enter(alice, room)
    for tab in (other, stuck):
        expect(tab.pending).to_have_count(0)
        expect(tab.said("left behind")).to_have_count(1)


def test_a_refused_line_is_kept_until_its_author_decides(enter, room, alice):
    tab = enter(alice, room)
    tab.refuse("not_allowed")
    for text in ("edit me", "drop me", "send me"):
        tab.say(text)
        expect(tab.said(text)).to_have_attribute("data-state", "failed")
    tab.page.reload()
    expect(tab.pending).to_have_count(3)
    tab.said("edit me").locator("[data-pending=edit]").click()
    expect(tab.box).to_have_value("edit me")
    tab.said("drop me").locator("[data-pending=discard]").click()
    tab.up = lambda frame: [frame]
    tab.said("send me").locator("[data-pending=retry]").click()
    expect(tab.pending).to_have_count(0)
    expect(tab.said("send me")).to_have_count(1)
    expect(tab.said("drop me")).to_have_count(0)


def test_a_key_that_is_taken_is_replaced(enter, room, alice):
    tab = enter(alice, room)
    tab.refuse("key_reused")
    tab.say("once more")
    expect(tab.said("once more")).to_have_attribute("data-state", "failed")
    tab.up = lambda frame: [frame]
    tab.page.click("[data-pending=retry]")
    expect(tab.pending).to_have_count(0)
    assert tab.posts[0]["key"] != tab.posts[1]["key"]


def test_who_types_fast_is_slowed_down_and_keeps_the_order(enter, room, alice):
    tab = enter(alice, room)
    texts = [f"line {number}." for number in range(25)]
    for text in texts:
        tab.say(text)
    expect(tab.pending).to_have_count(0, timeout=30_000)
    assert tab.bodies() == texts


def test_what_the_server_cannot_take_now_is_sent_later(enter, room, alice):
    tab = enter(alice, room)
    tab.refuse("busy")
    tab.say("first")
    tab.say("second")
    tab.page.wait_for_timeout(300)
    expect(tab.page.locator("[data-state=failed]")).to_have_count(0)
    tab.up = lambda frame: [frame]
    expect(tab.pending).to_have_count(0)
    assert tab.bodies() == ["first", "second"]


# What comes to the page ---------------------------------------------------------------


def test_a_hole_is_mended(enter, room, alice, bob):
    one, two = enter(alice, room), enter(bob, room)
    lost = []

    def lose_the_first(frame):
        if "lost on the way" in frame and not lost:
            lost.append(frame)
            return []
        return [frame]

    one.down = lose_the_first
    two.say("lost on the way")
    expect(two.pending).to_have_count(0)
    two.say("after it")
    expect(one.said("after it")).to_have_count(1)
    assert lost
    expect(one.said("lost on the way")).to_have_count(1)
    equals_a_fresh_page(one, enter, alice, room)


def test_what_comes_twice_is_drawn_once(enter, room, alice, bob):
    one, two = enter(alice, room), enter(bob, room)
    one.down = lambda frame: [frame, frame]
    two.say("echo")
    expect(two.pending).to_have_count(0)
    two.say("end")
    expect(one.said("end")).to_have_count(1)
    expect(one.said("echo")).to_have_count(1)
    one.numbers()


def test_after_a_reset_the_newest_page_is_there_and_so_is_the_draft(enter, room, alice):
    tab = enter(alice, room)
    tab.say("before")
    expect(tab.pending).to_have_count(0)
    tab.box.fill("half a line")
    tab.browser_side.send(protocol.reset("gap", tab.numbers()[-1]).decode())
    tab.page.wait_for_timeout(300)
    expect(tab.box).to_have_value("half a line")
    tab.box.press("Enter")
    expect(tab.said("half a line")).to_have_count(1)
    expect(tab.pending).to_have_count(0)
    equals_a_fresh_page(tab, enter, alice, room)


def test_who_came_while_the_newest_page_was_loaded_is_here(enter, room, alice, bob):
    """Above the lines of the page, and with no line of their own in it."""
    one, waiting = enter(alice, room), []
    one.page.route("**/log/**", lambda route: waiting.append(route))
    one.browser_side.send(protocol.reset("gap", one.numbers()[-1]).decode())
    two = enter(bob, room)
    write_batch([PostMessage(room.pk, alice, f"k{n}", f"line {n}") for n in range(60)])
    expect(two.said("line 59")).to_have_count(1)
    one.page.wait_for_timeout(2_000)  # until it has heard of them, too
    (request,) = waiting
    request.continue_()
    expect(one.said("line 59")).to_have_count(1)
    expect(one.said("line 9")).to_have_count(0)
    expect(one.page.locator("#here")).to_contain_text("bob")


def test_who_is_sent_away_comes_back_within_the_window(enter, room, alice):
    tab = enter(alice, room)
    tab.page.evaluate("Math.random = () => 0.9")
    farewell = protocol.farewell(Close.RESTART, "The server is restarting.")
    tab.browser_side.send(farewell.decode())
    tab.browser_side.close(code=1012)
    tab.page.wait_for_timeout(1_000)  # by itself it would wait for 0.45 s
    status = tab.page.locator("#status")
    assert status.get_attribute("data-state") == "waiting"
    tab.is_live()


def test_a_machine_that_slept_connects_anew(enter, room, alice, bob):
    one, two = enter(alice, room), enter(bob, room)
    before = one.browser_side
    one.page.evaluate("{ const now = Date.now; Date.now = () => now() + 3_600_000 }")
    one.page.evaluate(SET_HIDDEN, False)
    one.is_live()
    two.say("good morning")
    expect(one.said("good morning")).to_have_count(1)
    assert one.browser_side is not before


def test_an_event_of_a_newer_server_has_a_row_too(enter, room, alice):
    tab = enter(alice, room)
    head = tab.numbers()[-1]
    event = {"seq": head + 1, "kind": "poll", "at": "2026-11-22T14:00:00.000Z"}
    tab.browser_side.send(protocol.events([protocol.encode(event)]).decode())
    expect(tab.page.locator(f"[data-seq='{head + 1}']")).to_contain_text("Reload")
    assert tab.numbers()[-1] == head + 1


# Where one reads ----------------------------------------------------------------------


def test_a_long_log_is_drawn_in_pieces_and_left_by_one_click(enter, room, alice):
    write_batch(
        [PostMessage(room.pk, alice, f"k{n}", f"line {n}") for n in range(1_000)]
    )
    tab = enter(alice, room)
    head, most = tab.numbers()[-1], 0
    beginning = tab.page.locator("#beginning")
    while not beginning.is_visible():
        tab.scroll_up()
        tab.page.wait_for_timeout(50)
        most = max(most, len(tab.numbers()))
    assert head > 1_000 > 800 > most
    tab.page.click("#jump")
    expect(tab.page.locator(f"#rows [data-seq='{head}']")).to_be_attached()
    tab.numbers()
    assert tab.page.evaluate(IS_AT_END)


def test_who_reads_above_stays_there_and_is_told_what_came(enter, room, alice, bob):
    one, two = enter(alice, room), enter(bob, room)
    one.say("the first line")
    expect(one.pending).to_have_count(0)
    one.say("\n\n".join(["a long text"] * 60))
    expect(one.pending).to_have_count(0)
    one.scroll_up()
    place = one.said("the first line").bounding_box()
    two.say("and one more")
    expect(one.page.locator("#jump .badge")).to_contain_text("1")
    assert one.said("the first line").bounding_box() == place
    one.page.click("#jump")
    expect(one.page.locator("#jump")).to_be_hidden()
    assert one.page.evaluate(IS_AT_END)


def test_what_came_while_nobody_looked_is_marked(enter, room, alice, bob):
    one, two = enter(alice, room), enter(bob, room)
    one.page.evaluate(SET_HIDDEN, True)
    two.say("unseen")
    expect(one.page.locator("#rows .new + .message")).to_contain_text("unseen")
    assert one.page.title().startswith("(1)")
    one.page.evaluate(SET_HIDDEN, False)
    assert one.page.title().startswith("lobby")


# What changes under one's hands -------------------------------------------------------


def test_a_new_role_shows_its_controls_at_once(enter, room, alice, bob):
    one, two = enter(alice, room), enter(bob, room)
    two.page.click("[popovertarget=room-menu]")
    clear = two.page.locator("[data-opens=clear]")
    expect(clear).to_be_hidden()
    one.page.click("#here .person:has-text('bob')")
    one.page.click("[data-role=moderator]")
    expect(clear).to_be_visible()


def test_an_archived_room_keeps_what_one_was_typing(enter, room, alice):
    tab = enter(alice, room)
    tab.box.fill("too late")
    room.archive(alice)
    expect(tab.box).not_to_be_editable()
    expect(tab.box).to_have_value("too late")


# What must hold together --------------------------------------------------------------


def test_the_protocols_twins_agree(enter, room, alice):
    frames, errors, closes = enter(alice, room).page.evaluate(
        """async () => {
            const { FRAMES, ERRORS, CLOSES } = await import("rollcall/protocol")
            return [[...FRAMES], Object.keys(ERRORS), Object.keys(CLOSES).map(Number)]
        }"""
    )
    assert set(frames) == protocol.TO_BROWSER
    assert set(errors) == protocol.ERRORS
    assert {int(code) for code in protocol.Close} <= set(closes)


TOLD_APART = {Event.Kind.LEAVE, Event.Kind.ROLE}
SENTENCES = [
    *(f"row-{kind.value}" for kind in Event.Kind if kind not in TOLD_APART),
    *(f"row-leave-{cause.value.replace(' ', '-')}" for cause in Cause),
    *(f"cause-{cause.value.replace(' ', '-')}" for cause in Cause),
    *(f"row-role-{role.value}" for role in Role),
    *("row-me", "row-unarchive", "row-kick-reason", "row-clear-reason"),
    *("row-topic-none", "row-notice", "row-pending", "row-other"),
]


@pytest.mark.parametrize("sentence", SENTENCES)
def test_every_kind_of_row_has_its_sentence(sentence):
    assert f'<template id="{sentence}">' in ROWS.read_text()
