import re

import pytest
from allauth.account.models import EmailAddress
from django.test import Client

from accounts.models import User

PEOPLE = "/admin/accounts/user/"


@pytest.fixture
def desk(admin, browse):
    """The browser of an admin."""
    return browse(admin)


def test_one_signs_in_to_the_admin_by_the_page_that_counts_attempts(db, client):
    answer = client.get("/admin/", follow=True)
    assert answer.redirect_chain[-1][0].startswith("/accounts/login/?next=")
    answer = client.post("/admin/login/", {"username": "root", "password": "x"})
    assert answer.headers["Location"].startswith("/accounts/login/")


def test_who_is_no_staff_is_refused(ann, browse):
    assert browse(ann).get("/admin/login/").status_code == 403


def test_people_are_found_by_any_spelling(ann, desk):
    for words in ("ANN", "Ａｎｎ", "ann@EXAMPLE"):
        page = desk.get(PEOPLE, {"q": words}).content.decode()
        assert "1 person" in page
    assert "0 people" in desk.get(PEOPLE, {"q": "x" * 10_000}).content.decode()
    assert desk.get(PEOPLE, {"q": "a\0"}).status_code == 200


def test_an_admin_makes_a_person(desk, password):
    data = {
        "username": "new",
        "email": "",
        "password1": password,
        "password2": password,
    }
    assert desk.post(f"{PEOPLE}add/", data).status_code == 302
    assert User.objects.get(slug="new").check_password(password)


@pytest.mark.parametrize("name", ["ANN", "1ann", "an\0n", "an n", "a" * 33])
def test_a_bad_or_taken_name_is_refused_at_both_doors(ann, bob, desk, name, password):
    data = {"username": name, "password1": password, "password2": password}
    answer = desk.post(f"{PEOPLE}add/", data)
    assert list(answer.context["errors"]) != []
    answer = desk.post(f"{PEOPLE}{bob.pk}/change/", {"username": name})
    assert answer.status_code == 200
    bob.refresh_from_db()
    assert bob.username == "bob"


def test_a_name_taken_a_moment_ago_is_a_sentence(ann, bob, desk, password, monkeypatch):
    monkeypatch.setattr(User, "clean", lambda person: None)
    data = {"username": "ANN", "password1": password, "password2": password}
    for url in (f"{PEOPLE}add/", f"{PEOPLE}{bob.pk}/change/"):
        answer = desk.post(url, data, follow=True)
        assert "This name is already taken." in answer.content.decode()


def test_an_admin_deactivates_people_but_not_oneself(
    ann, admin, desk, sign_in, signed_in
):
    browser = sign_in("ann").client
    chosen = {"action": "deactivate", "_selected_action": [ann.pk, admin.pk]}
    assert (
        "1 account was deactivated."
        in desk.post(PEOPLE, chosen, follow=True).content.decode()
    )
    assert signed_in(browser) is None
    assert not ann.sessions.exists()
    assert desk.get(PEOPLE).status_code == 200


def test_an_admin_sets_a_password_which_ends_the_sessions(
    ann, desk, sign_in, signed_in
):
    browser = sign_in("ann").client
    new = "a staple of horses"
    data = {"password1": new, "password2": new, "usable_password": "true"}
    assert desk.post(f"{PEOPLE}{ann.pk}/password/", data).status_code == 302
    assert signed_in(browser) is None
    assert sign_in("ann", new).status_code == 302


def test_every_page_of_people_in_the_admin_opens(ann, desk):
    for page in (
        "",
        "add/",
        f"{ann.pk}/change/",
        f"{ann.pk}/history/",
        f"{ann.pk}/delete/",
    ):
        assert desk.get(PEOPLE + page).status_code == 200


# Addresses ------------------------------------------------------------------------

RESET = "/accounts/password/reset/"


@pytest.fixture
def change_address(desk):
    """change_address(person, email): by the admin's form."""

    def change_address(person, email):
        fields = {"username": person.username, "is_active": "on", "email": email}
        return desk.post(f"{PEOPLE}{person.pk}/change/", fields)

    return change_address


def addresses_of(person):
    rows = EmailAddress.objects.filter(user=person)
    return list(rows.values_list("email", "primary", "verified"))


@pytest.fixture
def confirmed(ann):
    """ann, whose address is confirmed, and who has begun to change it."""
    EmailAddress.objects.create(user=ann, email="pending@example.org")
    return ann


@pytest.mark.django_db(transaction=True)
def test_the_former_address_gets_no_reset_after_a_change(
    confirmed, change_address, mailoutbox
):
    assert change_address(confirmed, "New@Example.org").status_code == 302
    assert addresses_of(confirmed) == [("new@example.org", True, False)]
    confirmed.refresh_from_db()
    assert confirmed.email == "new@example.org"
    assert [letter.to for letter in mailoutbox] == [["new@example.org"]]
    assert "/confirm-email/" in mailoutbox[0].body
    for former in ("ann@example.org", "pending@example.org"):
        mailoutbox.clear()
        Client().post(RESET, {"email": former})
        assert "/password/reset/key/" not in mailoutbox[0].body


@pytest.mark.django_db(transaction=True)
def test_a_link_sent_before_the_change_is_void(confirmed, change_address, mailoutbox):
    Client().post(RESET, {"email": confirmed.email})
    link = re.search(r"/accounts/password/reset/key/\S+", mailoutbox[0].body)[0]
    change_address(confirmed, "new@example.org")
    page = Client().get(link, follow=True).content.decode()
    assert "no longer valid" in page


@pytest.mark.django_db(transaction=True)
def test_the_new_address_is_confirmed_by_the_letter(
    confirmed, change_address, mailoutbox
):
    change_address(confirmed, "new@example.org")
    link = re.search(r"/accounts/confirm-email/\S+", mailoutbox[0].body)[0]
    Client().post(link)
    assert addresses_of(confirmed) == [("new@example.org", True, True)]


def test_an_address_is_taken_away(confirmed, change_address):
    change_address(confirmed, "")
    assert addresses_of(confirmed) == []


def test_an_address_that_stays_stays_confirmed(confirmed, change_address):
    change_address(confirmed, "ANN@example.org")
    assert ("ann@example.org", True, True) in addresses_of(confirmed)


def test_the_address_of_another_account_is_refused(confirmed, bob, change_address):
    answer = change_address(bob, "Ann@example.org")
    assert "belongs to another account" in answer.content.decode()
    assert addresses_of(bob) == []


@pytest.mark.django_db(transaction=True)
def test_who_is_made_with_an_address_is_asked_to_confirm_it(desk, password, mailoutbox):
    passwords = {"password1": password, "password2": password}
    data = {"username": "new", "email": "new@example.org", **passwords}
    desk.post(f"{PEOPLE}add/", data)
    new = User.objects.get(slug="new")
    assert addresses_of(new) == [("new@example.org", True, False)]
    assert [letter.to for letter in mailoutbox] == [["new@example.org"]]


def test_an_admin_confirms_an_address(carol, bob, desk):
    for person in (carol, bob):
        EmailAddress.objects.create(user=person, email="a@example.org", primary=True)
    chosen = {"action": "confirm_address", "_selected_action": [carol.pk]}
    told = desk.post(PEOPLE, chosen, follow=True).content.decode()
    assert "The address a@example.org is confirmed." in told
    chosen = {"action": "confirm_address", "_selected_action": [bob.pk]}
    told = desk.post(PEOPLE, chosen, follow=True).content.decode()
    assert "The address a@example.org belongs to another account." in told
    assert EmailAddress.objects.get(verified=True).user == carol
