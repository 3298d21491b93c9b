"""In a real browser the pages break no rule of our own policy."""

import re

import pytest
from django.conf import settings
from playwright.sync_api import Error, expect

PAGES = ["/", "/accounts/login/", "/accounts/signup/", "/nowhere/", "/admin/login/"]
SIGNED_IN = [
    *("/rooms/", "/rooms/lobby/", "/rooms/new/", "/accounts/", "/accounts/sessions/"),
    *("/accounts/2fa/", "/accounts/2fa/totp/activate/", "/accounts/2fa/webauthn/add/"),
]
ADMIN = [
    *("/admin/", "/admin/accounts/user/", "/admin/accounts/user/add/"),
    *("/admin/rooms/room/", "/admin/rooms/event/", "/admin/rooms/visit/"),
    *("/admin/rooms/membership/", "/admin/rooms/node/"),
]


@pytest.fixture
def server(serve):
    return serve()


@pytest.fixture
def complaints():
    """What the console says of each page that complaints.watch(page) was given."""

    class Complaints(list):
        def watch(self, page):
            page.on("console", self.note)
            page.on("pageerror", lambda error: self.append(str(error)))
            return page

        def note(self, line):
            is_serious = line.type in ("error", "warning")
            if is_serious and "404 (Not Found)" not in line.text:
                self.append(line.text)

    return Complaints()


@pytest.fixture
def page(browser, server, complaints):
    """One of a stranger."""
    with browser.new_context(base_url=server.url) as context:
        yield complaints.watch(context.new_page())


@pytest.fixture
def sign_in(page, server, browse):
    def sign_in(user):
        key = browse(user).session.session_key
        cookie = {"name": settings.SESSION_COOKIE_NAME, "url": server.url}
        page.context.add_cookies([{**cookie, "value": key}])

    return sign_in


def visit(page, paths):
    for path in paths:
        page.goto(path)
        page.wait_for_load_state("load")
        page.wait_for_timeout(200)


def test_pages_break_no_rule_of_the_policy(page, complaints):
    visit(page, PAGES)
    assert complaints == []


def test_pages_of_ones_own_break_no_rule(page, complaints, sign_in, room, alice):
    sign_in(alice)
    visit(page, SIGNED_IN)
    assert complaints == []


def test_the_admin_works_and_breaks_no_rule(page, complaints, sign_in, room, admin):
    sign_in(admin)
    visit(page, ADMIN)
    # The admin's own script chooses all rows by the first box, and counts them.
    for path in ("/admin/accounts/user/", "/admin/rooms/room/"):
        page.goto(path)
        page.locator("#action-toggle").check()
        expect(page.locator("#result_list tbody .action-select").first).to_be_checked()
        count = page.locator("#result_list tbody tr").count()
        expect(page.locator(".action-counter")).to_have_text(
            f"{count} of {count} selected"
        )
    assert page.evaluate("typeof django.jQuery('<p>text</p>')") == "object"
    assert complaints == []


SINKS = {
    "markup": "document.body.innerHTML = '<b>bold</b>'",
    "more markup": "document.body.insertAdjacentHTML('beforeend', '<b>bold</b>')",
    "a script's address": "document.createElement('script').src = '/evil.js'",
    "another policy": "trustedTypes.createPolicy('evil', {createHTML: (html) => html})",
    "our policy, again": "trustedTypes.createPolicy('rollcall', {})",
}


@pytest.mark.parametrize("script", SINKS.values(), ids=SINKS)
def test_text_does_not_become_code_beside_our_policy(
    page, sign_in, room, alice, script
):
    sign_in(alice)
    page.goto("/rooms/lobby/")
    expect(page.locator("#status")).to_contain_text("Connected", timeout=15_000)
    with pytest.raises(Error, match="TypeError"):
        page.evaluate(f"() => {{ {script} }}")


def test_after_signing_out_the_way_back_shows_nothing(page, sign_in, room, alice):
    sign_in(alice)
    page.goto("/accounts/")
    page.goto("/rooms/lobby/")
    expect(page.locator("#rows")).to_be_attached()
    page.locator(".me-button").click()
    page.get_by_role("button", name="Sign out").click()
    expect(page).to_have_url(re.compile("/accounts/login/"))
    page.go_back()  # to the account's page; the room's own place is taken by this one
    expect(page).to_have_url(re.compile("/accounts/login/"))
    page.go_back()
    expect(page).to_have_url("about:blank")
