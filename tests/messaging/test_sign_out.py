"""What was typed, and not sent, leaves the browser with whoever signs out."""

import re

import pytest
from django.conf import settings
from playwright.sync_api import expect

from accounts.models import Session
from rooms.models import Room
from tests.messaging.test_page import is_live, say

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(120)]

KEPT = "Object.keys(localStorage).filter((name) => name.startsWith('rollcall/'))"
SIGN_IN = re.compile("/accounts/login/")


@pytest.fixture
def server(serve):
    return serve()


@pytest.fixture
def context(browser, server):
    with browser.new_context(base_url=server.url) as context:
        yield context


@pytest.fixture
def be(context, server, browse):
    """be(user): from now on the browser is signed in as that person."""

    def be(user):
        key = browse(user).session.session_key
        cookie = {"name": settings.SESSION_COOKIE_NAME, "url": server.url}
        context.add_cookies([{**cookie, "value": key}])

    return be


@pytest.fixture
def open_page(context):
    def open_page(path):
        page = context.new_page()
        page.goto(path)
        return page

    return open_page


@pytest.fixture
def other_room(alice):
    return Room.objects.create_with_owner("other", alice)


def sign_out(page):
    page.locator(".me-button").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(SIGN_IN)


def test_by_the_button(room, alice, be, open_page):
    be(alice)
    page = open_page("/rooms/lobby/")
    # No line, so that the text waits in the outbox.
    page.route_web_socket(re.compile("/ws/"), lambda socket: socket.close())
    page.reload()
    say(page, "never sent")
    expect(page.locator("#pending .row")).to_have_count(1)
    page.locator("#say").fill("half a thought")
    page.wait_for_timeout(600)
    assert len(page.evaluate(KEPT)) == 2
    sign_out(page)
    assert page.evaluate(KEPT) == []


def test_also_from_other_pages_which_go(room, other_room, alice, be, open_page):
    be(alice)
    other, rooms = is_live(open_page("/rooms/other/")), open_page("/rooms/")
    other.locator("#say").fill("a thought in another room")
    page = is_live(open_page("/rooms/lobby/"))
    sign_out(page)
    for one in (other, rooms):
        expect(one).to_have_url(SIGN_IN)
        assert one.evaluate(KEPT) == []


@pytest.mark.parametrize(
    ("path", "buttons"),
    [
        ("/rooms/", [".me-button", "#my-menu form button"]),
        ("/accounts/logout/", ["main form button"]),
        ("/admin/", ["#logout-form button"]),
    ],
)
def test_whichever_page_has_the_button(path, buttons, room, admin, be, open_page):
    room.admit(admin)
    be(admin)
    room_page = is_live(open_page("/rooms/lobby/"))
    room_page.locator("#say").fill("half a thought")
    room_page.wait_for_timeout(600)
    page = open_page(path)
    assert len(page.evaluate(KEPT)) == 1
    for button in buttons:
        page.locator(button).click()
    expect(room_page).to_have_url(SIGN_IN)
    assert room_page.evaluate(KEPT) == []


def test_by_a_header_where_no_script_is(room, alice, be, open_page, context):
    be(alice)
    page = open_page("/rooms/")
    context.route(re.compile("sign-out"), lambda route: route.abort())
    page.reload()
    page.evaluate("localStorage.setItem('rollcall/draft/1/lobby/text', '\"text\"')")
    sign_out(page)
    assert page.evaluate(KEPT) == []
    assert "sessionid" not in {each["name"] for each in context.cookies()}


def test_a_session_that_ends_elsewhere_takes_nothing_until_another_person_comes(
    room, alice, bob, be, open_page
):
    be(alice)
    page = is_live(open_page("/rooms/lobby/"))
    page.locator("#say").fill("half a thought")
    page.wait_for_timeout(600)
    for session in Session.objects.all():
        session.delete()
    expect(page.locator("#banner")).to_contain_text("signed out", timeout=20_000)
    expect(page.locator("#say")).to_have_value("half a thought")
    assert len(page.evaluate(KEPT)) == 1
    be(alice)
    again = is_live(open_page("/rooms/lobby/"))
    expect(again.locator("#say")).to_have_value("half a thought")
    again.close()
    be(bob)
    bobs = is_live(open_page("/rooms/lobby/"))
    expect(bobs.locator("#say")).to_have_value("")
    assert bobs.evaluate(KEPT) == []
    # Somebody looks at the page that Alice left open.
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(page).to_have_url(re.compile("/rooms/$"))
    page.close()
    assert bobs.evaluate(KEPT) == []
