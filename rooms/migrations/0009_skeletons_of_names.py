"""Names get skeletons, by which look-alikes are found. Those that look alike already
stay as they are."""

from django.db import migrations

import accounts.names

AT_ONCE = 1000  # rows


def fill(apps, schema_editor) -> None:
    rows = apps.get_model("rooms", "Room")
    last = 0
    while some := list(rows.objects.filter(pk__gt=last).order_by("pk")[:AT_ONCE]):
        for each in some:
            each.skeleton = accounts.names.skeleton(each.name)[:255]
        rows.objects.bulk_update(some, ["skeleton"])
        last = some[-1].pk


class Migration(migrations.Migration):
    dependencies = [("rooms", "0008_deleted_rooms")]

    operations = [
        migrations.AddField(
            model_name="room",
            name="skeleton",
            field=accounts.names.SkeletonField(
                db_index=True,
                db_default="",
                editable=False,
                max_length=255,
                of="name",
            ),
        ),
        migrations.RunPython(fill, migrations.RunPython.noop, elidable=True),
    ]
