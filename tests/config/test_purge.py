"""`manage.py purge`: what is forgotten, and that the logs stay whole."""

import io
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import Session
from accounts.security_record import SecurityRecord
from messaging.drafts import Arrive, write_batch
from rooms.models import Node, Visit
from tests.config.test_backup import contents, faults, sign_in

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def talk(room):
    call_command("seed_demo", days=2, lines=20, stdout=io.StringIO())
    return room


def purge(*options):
    out = io.StringIO()
    call_command("purge", *options, stdout=out)
    return out.getvalue().splitlines()


@pytest.fixture
def past(talk, bob, node, browse):
    """An old visit and one that is not over, of old servers; and two sign-ins."""
    long_ago = timezone.now() - timedelta(days=100)
    write_batch([Arrive(talk.pk, bob, node.pk)])
    Visit.objects.filter(node=node).update(opened_at=long_ago)
    Visit.objects.filter(settled=True, room=talk).update(closed_at=timezone.now())
    old = Visit.objects.filter(settled=True).exclude(room=talk)
    old.update(opened_at=long_ago, closed_at=long_ago)
    Node.objects.create(name="unvisited", stopped_at=long_ago)
    kept, ended = sign_in(browse, bob), sign_in(browse, bob)
    Session.objects.filter(pk=ended).update(expire_date=long_ago)
    SecurityRecord.objects.filter(pk=SecurityRecord.objects.first().pk).update(
        at=long_ago
    )
    return old.count(), kept


def test_a_dry_purge_tells_and_changes_nothing(past):
    count, _session = past
    before = contents(without=())
    assert purge() == [
        f"{count:,} visits older than 90 days",
        "1 server processes without visits",
        "1 sign-ins that have run out",
        "1 security records older than 90 days",
        "Nothing was changed. `--yes` does it.",
    ]
    assert contents(without=()) == before


def test_a_purge_forgets_what_is_past_and_leaves_the_logs_whole(past, monkeypatch):
    count, session = past
    monkeypatch.setattr("config.management.commands.purge.AT_ONCE", 7)
    before, visits = contents(), Visit.objects.count()
    assert count > 14
    purge("--yes")
    after = contents()
    changed = {"rooms_visit", "rooms_node", "accounts_securityrecord"}
    assert {name for name in before if before[name] != after[name]} == changed
    assert Visit.objects.count() == visits - count
    assert Visit.objects.unsettled().count() == 1
    assert list(Session.objects.values_list("pk", flat=True)) == [session]
    assert faults() == []


@pytest.mark.parametrize(("days", "left"), [(99, 0), (101, 1)])
def test_visits_are_kept_as_many_days_as_one_says(past, days, left):
    count, _session = past
    purge("--days", days, "--yes")
    long_ago = timezone.now() - timedelta(days=99)
    found = Visit.objects.filter(settled=True, closed_at__lt=long_ago).count()
    assert found == left * count


@pytest.mark.parametrize("days", [0, -1, 10**9])
def test_days_out_of_reach_are_refused(db, days):
    with pytest.raises(CommandError, match="--days is 1 to"):
        purge("--days", days)
