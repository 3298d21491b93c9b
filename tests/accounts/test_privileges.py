"""Only superusers give privileges, or touch the accounts of those who have some."""

import pytest
from allauth.account.models import EmailAddress
from django.contrib.auth.models import Group, Permission

from accounts.models import User
from tests.support.fixtures import make_person

PEOPLE = "/admin/accounts/user/"
NEW = "a staple of horses"


@pytest.fixture
def helper(db):
    """Somebody with staff rights and every permission, who is no superuser."""
    helper = make_person("helper", is_staff=True)
    helper.user_permissions.set(Permission.objects.all())
    return helper


@pytest.fixture
def desk(helper, browse):
    return browse(helper)


@pytest.fixture
def deputy(db):
    """Another one with staff rights."""
    return make_person("deputy", is_staff=True, email="deputy@example.org")


@pytest.fixture
def group(db):
    return Group.objects.create(name="all")


def everything(person, group):
    """What the form of a superuser would send, and more."""
    return {
        "username": person.username,
        "email": "evil@example.org",
        "is_active": "on",
        "is_staff": "on",
        "is_superuser": "on",
        "groups": [group.pk],
        "user_permissions": list(Permission.objects.values_list("pk", flat=True)),
        "password": "x",
    }


def facts(person):
    person = User.objects.get(pk=person.pk)
    return {
        **{name: getattr(person, name) for name in ("username", "email", "password")},
        "flags": (person.is_active, person.is_staff, person.is_superuser),
        "groups": set(person.groups.all()),
        "permissions": set(person.user_permissions.all()),
        "addresses": set(EmailAddress.objects.filter(user=person)),
    }


def test_whoever_may_change_people_changes_ordinary_ones(bob, desk):
    page = desk.get(f"{PEOPLE}{bob.pk}/change/").content.decode()
    assert 'name="username"' in page
    fields = {"username": "bobby", "is_active": "on"}
    assert desk.post(f"{PEOPLE}{bob.pk}/change/", fields).status_code == 302
    bob.refresh_from_db()
    assert bob.username == "bobby"


def test_the_form_gives_nobody_privileges(bob, group, desk):
    before = facts(bob)
    answer = desk.post(f"{PEOPLE}{bob.pk}/change/", everything(bob, group))
    assert answer.status_code == 302
    after = facts(bob)
    assert after["email"] == "evil@example.org"
    for what in ("flags", "groups", "permissions"):
        assert after[what] == before[what]


@pytest.mark.parametrize("whose", ["helper", "deputy", "admin"])
def test_the_form_changes_nobody_with_privileges(whose, group, desk, request):
    """Oneself included: one's account page is for that."""
    person = request.getfixturevalue(whose)
    before = facts(person)
    url = f"{PEOPLE}{person.pk}/change/"
    assert 'name="username"' not in desk.get(url).content.decode()
    assert desk.post(url, everything(person, group)).status_code == 403
    assert facts(person) == before


def test_whoever_is_added_has_no_privileges(group, desk):
    wanted = User(username="new")
    data = everything(wanted, group) | {"password1": NEW, "password2": NEW}
    assert desk.post(f"{PEOPLE}add/", data).status_code == 302
    new = facts(User.objects.get(slug="new"))
    assert new["flags"] == (True, False, False)
    assert new["groups"] == new["permissions"] == set()


@pytest.mark.parametrize("whose", ["helper", "deputy", "admin"])
def test_the_password_of_somebody_with_privileges_stays(whose, desk, request):
    person = request.getfixturevalue(whose)
    before = facts(person)
    url = f"{PEOPLE}{person.pk}/password/"
    data = {"password1": NEW, "password2": NEW, "usable_password": "true"}
    assert desk.get(url).status_code == 403
    assert desk.post(url, data).status_code == 403
    assert desk.post(url, {"usable_password": "false"}).status_code == 403
    assert facts(person) == before


def test_the_password_of_an_ordinary_person_is_set(bob, desk):
    data = {"password1": NEW, "password2": NEW, "usable_password": "true"}
    assert desk.post(f"{PEOPLE}{bob.pk}/password/", data).status_code == 302
    assert User.objects.get(pk=bob.pk).check_password(NEW)


@pytest.mark.parametrize("action", ["deactivate", "confirm_address"])
def test_actions_leave_those_with_privileges_alone(
    action, bob, deputy, admin, desk, browse
):
    for person in (bob, deputy, admin):
        email = f"{person}@example.org"
        EmailAddress.objects.create(user=person, email=email, primary=True)
    signed_in = browse(admin)
    before = facts(deputy), facts(admin)
    chosen = {"action": action, "_selected_action": [bob.pk, deputy.pk, admin.pk]}
    told = desk.post(PEOPLE, chosen, follow=True).content.decode()
    assert "Only superusers change accounts with staff rights." in told
    assert (facts(deputy), facts(admin)) == before
    assert not EmailAddress.objects.filter(verified=True).exclude(user=bob).exists()
    assert signed_in.get("/accounts/session/").json()["name"] == "root"
    bob.refresh_from_db()
    done = EmailAddress.objects.get(user=bob).verified or not bob.is_active
    assert done


def test_deleting_leaves_those_with_privileges(bob, deputy, admin, desk):
    for person in (deputy, admin):
        url = f"{PEOPLE}{person.pk}/delete/"
        assert desk.post(url, {"post": "yes"}).status_code == 403
    everybody = [bob.pk, deputy.pk, admin.pk]
    chosen = {"action": "delete_selected", "_selected_action": everybody, "post": "yes"}
    assert desk.post(PEOPLE, chosen).status_code == 403
    assert User.objects.filter(pk__in=everybody).count() == 3
    assert desk.post(f"{PEOPLE}{bob.pk}/delete/", {"post": "yes"}).status_code == 302
    assert not User.objects.filter(pk=bob.pk).exists()


def test_groups_are_for_superusers(helper, group, desk, admin, browse):
    data = {"name": "mine", "permissions": [Permission.objects.first().pk]}
    for page in ("", "add/", f"{group.pk}/change/", f"{group.pk}/delete/"):
        assert desk.get(f"/admin/auth/group/{page}").status_code == 403
        assert desk.post(f"/admin/auth/group/{page}", data).status_code == 403
        assert browse(admin).get(f"/admin/auth/group/{page}").status_code == 200
    assert not group.permissions.exists()
    assert list(Group.objects.all()) == [group]


def test_no_other_page_touches_addresses_or_factors(desk, deputy):
    """allauth's own pages would: a new address for a superuser is a new password."""
    for model in ("account/emailaddress", "account/emailconfirmation"):
        assert desk.get(f"/admin/{model}/").status_code == 404
        assert desk.post(f"/admin/{model}/add/", {"user": deputy.pk}).status_code == 404


def test_a_superuser_gives_privileges(bob, group, admin, browse):
    url = f"{PEOPLE}{bob.pk}/change/"
    assert browse(admin).post(url, everything(bob, group)).status_code == 302
    after = facts(bob)
    assert after["flags"] == (True, True, True)
    assert after["groups"] == {group}
