import django.db.models.deletion
from django.db import migrations, models

PUT_BACK = """
    UPDATE rooms_event SET data = data || jsonb_build_object(
        CASE kind WHEN 'topic' THEN 'topic' ELSE 'reason' END, body
    )
    FROM rooms_eventtext WHERE event_id = id
"""


class Migration(migrations.Migration):
    """A table for reasons and topics. `rooms.moving` fills it, bit by bit."""

    dependencies = [("rooms", "0003_an_index_of_kicks")]
    operations = [
        migrations.CreateModel(
            name="EventText",
            fields=[
                (
                    "event",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="text",
                        serialize=False,
                        to="rooms.event",
                    ),
                ),
                ("body", models.TextField(blank=True)),
            ],
        ),
        migrations.RunSQL(migrations.RunSQL.noop, PUT_BACK),
    ]
