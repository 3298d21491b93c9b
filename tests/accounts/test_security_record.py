"""The record of sign-ins, failures and privileges: what it holds, and who sees it."""

import io
import json
import logging
from datetime import timedelta

import pytest
from django.contrib.auth.models import Group, Permission
from django.test import Client
from django.utils import timezone

from accounts.models import User
from accounts.security_record import Kind, SecurityRecord
from config.logging import FewFilter, JSONFormatter

PAGE = "/admin/accounts/securityrecord/"
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
NEW = "a staple of horses"


def records(*kinds):
    """(kind, name, detail) of those kinds, or of all; the oldest first."""
    rows = SecurityRecord.objects.filter(kind__in=kinds or Kind).order_by("pk")
    return [(row.kind, row.name, row.detail) for row in rows]


@pytest.fixture
def lines():
    """The lines of JSON that the log gets, as objects."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(JSONFormatter())
    logger = logging.getLogger("rollcall.security")
    logger.addHandler(handler)
    yield lambda: [json.loads(line) for line in out.getvalue().splitlines()]
    logger.removeHandler(handler)


# What is written ------------------------------------------------------------------


def test_a_sign_in_and_out_is_recorded_with_its_browser_and_address(ann, sign_in):
    headers = {"HTTP_USER_AGENT": FIREFOX, "REMOTE_ADDR": "192.0.2.7"}
    browser = sign_in("ANN", **headers).client
    browser.post("/accounts/logout/")
    signed_in, signed_out = SecurityRecord.objects.order_by("pk")
    assert signed_in.kind == Kind.SIGN_IN and signed_in.user == ann
    assert (signed_in.name, signed_in.address) == ("Ann", "192.0.2.7")
    assert signed_in.browser_in_words == "Firefox on Linux"
    assert timezone.now() - signed_in.at < timedelta(minutes=1)
    assert signed_out.kind == Kind.SIGN_OUT and signed_out.user == ann


def test_a_failure_is_recorded_and_what_a_stranger_typed_is_not(ann, sign_in):
    sign_in("ann", "wrong")
    sign_in("hunter2", "ann")  # a password in the field of the name
    failed = Kind.SIGN_IN_FAILED
    assert records() == [(failed, "Ann", ""), (failed, "", "")]


def test_passwords_and_resets_are_recorded(ann, sign_in, password, mailoutbox):
    browser = sign_in("ann").client
    data = {"oldpassword": password, "password1": NEW, "password2": NEW}
    browser.post("/accounts/password/change/", data)
    assert records(Kind.PASSWORD) == [(Kind.PASSWORD, "Ann", "")]
    Client().post("/accounts/password/reset/", {"email": ann.email})
    Client().post("/accounts/password/reset/", {"email": "nobody@example.org"})
    asked = Kind.RESET_ASKED
    assert records(asked) == [(asked, "Ann", ""), (asked, "", "")]
    link = mailoutbox[-2].body.partition("testserver")[2].split()[0]
    form = Client()
    page = form.get(link, follow=True).redirect_chain[-1][0]
    form.post(page, {"password1": "an other one", "password2": "an other one"})
    assert records(Kind.RESET) == [(Kind.RESET, "Ann", "")]


def test_an_address_changed_or_removed_is_recorded(
    ann, admin, sign_in, password, browse
):
    browser = sign_in("ann").client
    browser.post("/accounts/reauthenticate/", {"password": password})
    data = {"email": ann.email, "action_remove": ""}
    browser.post("/accounts/email/", data)
    form = {"username": "Ann", "email": "new@example.org", "is_active": "on"}
    browse(admin).post(f"/admin/accounts/user/{ann.pk}/change/", form)
    assert [told for _kind, _name, told in records(Kind.ADDRESS)] == [
        "removed; by Ann",
        "changed; by root",
    ]


def test_a_sign_up_is_recorded(ann, client, password):
    data = {"username": "new", "password1": password, "password2": password}
    client.post("/accounts/signup/", data)
    assert records(Kind.SIGN_UP) == [(Kind.SIGN_UP, "new", "")]


def test_privileges_given_and_taken_are_recorded_with_who_did_it(ann, admin, browse):
    desk = browse(admin)
    form = f"/admin/accounts/user/{ann.pk}/change/"
    SecurityRecord.objects.all().delete()
    desk.post(form, {"username": "Ann", "is_active": "on", "is_staff": "on"})
    desk.post(form, {"username": "Ann"})
    assert [told for _kind, _name, told in records(Kind.PRIVILEGE)] == [
        "is_staff on; by root",
        "is_active off, is_staff off; by root",
    ]


def test_privileges_by_command_group_and_permission_are_recorded(ann):
    User.objects.create_superuser("chief")
    ann.groups.add(Group.objects.create(name="clerks"))
    ann.user_permissions.set([Permission.objects.first()])
    ann.groups.clear()
    assert records(Kind.PRIVILEGE) == [
        (Kind.PRIVILEGE, "chief", "is_staff on, is_superuser on; by a command"),
        (Kind.PRIVILEGE, "Ann", "groups add; by a command"),
        (Kind.PRIVILEGE, "Ann", "user_permissions add; by a command"),
        (Kind.PRIVILEGE, "Ann", "groups clear; by a command"),
    ]


def test_what_changes_no_privilege_is_not_recorded(ann):
    ann.username = "Anna"
    ann.save()
    ann.is_staff = True  # but not saved
    ann.save(update_fields=["last_login"])
    assert records() == []


def test_a_record_outlives_its_person(ann, sign_in):
    sign_in("ann")
    ann.delete()
    assert records(Kind.SIGN_IN) == [(Kind.SIGN_IN, "Ann", "")]


def test_the_old_ones_are_found_to_be_purged(ann, sign_in):
    sign_in("ann")
    long_ago = timezone.now() - timedelta(days=91)
    SecurityRecord.objects.create(kind=Kind.SIGN_IN, at=long_ago)
    assert [row.at for row in SecurityRecord.objects.older_than(90)] == [long_ago]


# The log --------------------------------------------------------------------------


def test_each_is_a_line_of_the_log_with_its_facts(ann, sign_in, lines):
    sign_in("ann", "wrong", REMOTE_ADDR="192.0.2.7")
    sign_in("ann", REMOTE_ADDR="192.0.2.7")
    failed, signed_in = lines()
    assert failed["logger"] == signed_in["logger"] == "rollcall.security"
    assert (failed["level"], signed_in["level"]) == ("WARNING", "INFO")
    assert failed["kind"] == "sign_in_failed" and signed_in["kind"] == "sign_in"
    for line in (failed, signed_in):
        assert (line["user"], line["name"]) == (ann.pk, "Ann")
        assert line["address"] == "192.0.2.7"


def test_strangers_cannot_fill_the_log(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("config.logging.time.monotonic", lambda: now[0])
    few = FewFilter(most=60)

    def tell(level=logging.WARNING):
        record = logging.LogRecord("x", level, "", 0, "told %s", ("it",), None)
        return few.filter(record) and record.getMessage()

    assert [tell() for _line in range(100)] == ["told it"] * 60 + [False] * 40
    assert tell(logging.INFO) == "told it"  # what is no failure has a count of its own
    now[0] = 60.0
    assert tell() == "told it (40 more were left out)"
    assert tell() == "told it"


# The page in the admin ------------------------------------------------------------


@pytest.fixture
def desk(admin, browse):
    return browse(admin)


def note_many(count, **fields):
    rows = [SecurityRecord(kind=Kind.SIGN_IN, **fields) for _nth in range(count)]
    SecurityRecord.objects.bulk_create(rows)


def shown(page):
    return [row.pk for row in page.context["cl"].result_list]


def test_an_admin_finds_them_by_the_beginning_of_a_name_and_by_kind(ann, desk, sign_in):
    sign_in("ann")
    sign_in("ann", "wrong")
    note_many(1, name="Bob", slug="bob")
    page = desk.get(PAGE, {"q": "ＡN"})
    assert {row.name for row in page.context["cl"].result_list} == {"Ann"}
    [failed] = shown(desk.get(PAGE, {"q": "ann", "kind": "sign_in_failed"}))
    assert SecurityRecord.objects.get(pk=failed).kind == Kind.SIGN_IN_FAILED
    assert shown(desk.get(PAGE, {"q": "nn"})) == []
    for odd in ({"q": "a\0"}, {"q": "x" * 10_000}, {"p": "9" * 30}, {"pk__lt": "x"}):
        assert desk.get(PAGE, odd, follow=True).status_code == 200


def test_older_ones_are_reached_by_key_page_by_page(desk):
    note_many(250)
    address, seen = PAGE, []
    while address:
        page = desk.get(address)
        seen += shown(page)
        older = page.context_data.get("older")
        address = older and PAGE + older
    everything = SecurityRecord.objects.order_by("-pk").values_list("pk", flat=True)
    assert seen == list(everything)
    assert "Older" in desk.get(PAGE).content.decode()


def test_nobody_changes_or_deletes_them_there(desk):
    note_many(1)
    row = SecurityRecord.objects.latest("pk")
    assert desk.get(f"{PAGE}add/").status_code == 403
    assert desk.post(f"{PAGE}{row.pk}/delete/", {"post": "yes"}).status_code == 403
    assert desk.post(f"{PAGE}{row.pk}/change/", {"name": "x"}).status_code == 403
    chosen = {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"}
    desk.post(PAGE, chosen)
    row.refresh_from_db()
    assert row.name == ""


def test_deleting_a_person_in_the_admin_leaves_the_records(ann, desk, sign_in):
    sign_in("ann")
    url = f"/admin/accounts/user/{ann.pk}/delete/"
    assert desk.post(url, {"post": "yes"}).status_code == 302
    assert (Kind.SIGN_IN, "Ann", "") in records()
