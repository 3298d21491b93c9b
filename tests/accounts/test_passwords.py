import re

import pytest
from django.core import mail
from django.core.management import call_command
from django.test import Client

from accounts.models import User

RESET = "/accounts/password/reset/"
CHANGE = "/accounts/password/change/"
NEW = "a staple of horses"


@pytest.fixture
def ask():
    """ask(address): ask for a reset; the answer and the mails that were sent."""

    def ask(address, client=None, **headers):
        mail.outbox.clear()
        answer = (client or Client()).post(RESET, {"email": address}, **headers)
        return answer, list(mail.outbox)

    return ask


def link_in(message):
    return re.search(r"https?://\S+/accounts/password/reset/key/\S+", message.body)[0]


def choose(client, link, password=NEW, again=None):
    """Follow the link of a reset mail, and choose a password."""
    form = client.get(link, follow=True)
    data = {"password1": password, "password2": again or password}
    return client.post(form.redirect_chain[-1][0], data, follow=True)


def change(client, old, new=NEW, again=None):
    data = {"oldpassword": old, "password1": new, "password2": again or new}
    return client.post(CHANGE, data)


# Change ---------------------------------------------------------------------------


def test_changing_it_keeps_this_browser_and_ends_the_others(
    ann, sign_in, signed_in, password
):
    here, there = sign_in("ann").client, sign_in("ann").client
    assert change(here, password).headers["Location"] == "/accounts/"
    assert signed_in(here) == "Ann"
    assert signed_in(there) is None
    assert sign_in("ann", password).status_code == 200
    assert sign_in("ann", NEW).status_code == 302


def test_changing_it_takes_the_current_one(ann, sign_in, password):
    here = sign_in("ann").client
    assert list(change(here, "wrong").context["form"].errors) == ["oldpassword"]
    assert list(change(here, password, "short").context["form"].errors) == ["password1"]
    answer = change(here, password, NEW, "another one")
    assert list(answer.context["form"].errors) == ["password2"]


def test_the_owner_of_the_address_hears_of_a_change(ann, sign_in, password, mailoutbox):
    change(sign_in("ann").client, password)
    assert mailoutbox[-1].to == ["ann@example.org"]
    assert RESET in mailoutbox[-1].body


def test_an_operator_changes_it_and_all_sessions_end(ann, sign_in, signed_in):
    browser = sign_in("ann").client
    ann.set_password(NEW)
    ann.save()
    assert signed_in(browser) is None
    assert not ann.sessions.exists()


def test_taking_it_away_ends_all_sessions(ann, sign_in):
    sign_in("ann")
    assert ann.sessions.exists()
    ann.set_unusable_password()
    ann.save()
    assert not ann.sessions.exists()


def test_who_has_none_can_set_one(db, client):
    guest = User.objects.create_user("guest")
    client.force_login(guest)
    assert client.get(CHANGE).headers["Location"] == "/accounts/password/set/"
    client.post("/accounts/password/set/", {"password1": NEW, "password2": NEW})
    guest.refresh_from_db()
    assert guest.check_password(NEW)


# Reset ----------------------------------------------------------------------------


def test_who_forgot_it_gets_a_link_and_chooses_another(ann, ask, sign_in, client):
    _answer, [message] = ask("Ann@Example.org")
    assert "Ann" in message.body
    assert (
        "Your password was changed" in choose(client, link_in(message)).content.decode()
    )
    assert sign_in("ann", NEW).status_code == 302


def test_a_reset_ends_all_sessions(ann, ask, sign_in, signed_in, client):
    browser = sign_in("ann").client
    choose(client, link_in(ask(ann.email)[1][0]))
    assert signed_in(browser) is None


def test_the_page_does_not_tell_whether_an_address_is_known(ann, ask):
    (known, [to_ann]), (unknown, [to_nobody]) = ask(ann.email), ask("no@example.org")
    assert known.status_code == unknown.status_code == 302
    assert known.headers["Location"] == unknown.headers["Location"]
    assert "password/reset/key" not in to_nobody.body
    assert to_ann.subject == to_nobody.subject


def test_an_address_that_is_known_takes_the_same_work(ann, ask, work_of):
    known, unknown = work_of(lambda: ask(ann.email)), work_of(lambda: ask("no@x.org"))
    assert known == unknown
    assert known.letters == 1 and known.hashes == 0


def test_the_inactive_get_no_link(ann, ask):
    ann.is_active = False
    ann.save()
    assert "password/reset/key" not in ask(ann.email)[1][0].body


def test_a_link_is_good_once(ann, ask, client):
    link = link_in(ask(ann.email)[1][0])
    choose(client, link)
    assert "no longer valid" in Client().get(link, follow=True).content.decode()


def test_a_link_dies_with_the_password_it_was_for(ann, ask, client):
    link = link_in(ask(ann.email)[1][0])
    ann.set_password("something else again")
    ann.save()
    assert "no longer valid" in client.get(link, follow=True).content.decode()


@pytest.mark.parametrize(
    "key",
    [
        "1-abc",
        "zzzzzzzzzzzzzzzzzzzzzzzz-abc",
        "0-set-password",
        "1-%00",
        "1-" + "a" * 9999,
    ],
)
def test_an_invented_link_is_told_to_be_invalid(ann, client, key):
    answer = client.get(f"{RESET}key/{key}/")
    assert answer.status_code == 200
    assert "no longer valid" in answer.content.decode()


def test_the_link_leads_to_the_public_address_whatever_host_was_asked(
    ann, ask, settings
):
    settings.PUBLIC_URL = "https://chat.example.org"
    settings.ALLOWED_HOSTS = ["chat.example.org"]
    for host in ("chat.example.org:6666", "chat.example.org"):
        for address in (ann.email, "nobody@example.org"):
            _answer, [message] = ask(address, HTTP_HOST=host)
            assert "https://chat.example.org/accounts/" in message.body
            assert ":6666" not in message.body + message.subject
    forwarded = {"HTTP_X_FORWARDED_HOST": "evil.example"}
    assert (
        "evil"
        not in ask("b@x.org", HTTP_HOST="chat.example.org", **forwarded)[1][0].body
    )


def test_another_host_is_refused(ann, ask, settings):
    settings.ALLOWED_HOSTS = ["chat.example.org"]
    answer, mails = ask(ann.email, HTTP_HOST="evil.example")
    assert answer.status_code == 400
    assert mails == []


def test_an_address_gets_three_mails_in_five_minutes(ann, ask):
    answers = [ask(ann.email)[0].status_code for _attempt in range(4)]
    assert answers == [302, 302, 302, 429]
    assert ask("other@example.org")[0].status_code == 302


def test_a_mail_server_that_is_away_gives_nothing_away(ann, ask, settings):
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
    assert ask(ann.email)[0].status_code == 302
    assert ask("nobody@example.org")[0].status_code == 302


@pytest.mark.parametrize(
    "address",
    [
        "",
        "x",
        "a@b.c\0",
        "a@example.org\r\nBcc: b@example.org",
        "a" * 100_000 + "@x.org",
    ],
)
def test_what_is_no_address_is_refused(db, ask, address):
    answer, mails = ask(address)
    assert list(answer.context["form"].errors) == ["email"]
    assert mails == []


def test_a_look_alike_address_gets_no_link_of_anothers(db, ask):
    User.objects.create_user("mike", "mike@example.org")
    _answer, [message] = ask("mıke@example.org")
    assert "password/reset/key" not in message.body


def test_a_letter_goes_to_the_address_that_is_known_not_to_its_double(db, ask):
    User.objects.create_user("mike", "mike@example.org")
    _answer, [message] = ask("mi\u212ae@example.org")  # a Kelvin sign, no K
    assert message.to == ["mike@example.org"]


def test_who_verified_an_address_gets_the_link_not_who_claims_it(ann, ask):
    User.objects.filter(pk=ann.pk).update(email="")
    User.objects.create_user("Mallory", "ann@example.org")
    _answer, [message] = ask("ann@example.org")
    assert "Ann" in message.body and "Mallory" not in message.body


def test_only_one_hasher_is_in_use(ann):
    assert ann.password.startswith("argon2$argon2id$v=19$m=19456,t=2,p=1$")


def test_changepassword_ends_all_sessions(ann, sign_in, monkeypatch):
    sign_in("ann")
    monkeypatch.setattr("getpass.getpass", lambda prompt: NEW)
    call_command("changepassword", "Ann")
    assert not ann.sessions.exists()
