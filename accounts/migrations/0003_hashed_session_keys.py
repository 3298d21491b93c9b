"""Sessions are known by the hash of their key. The cookies stay good: nobody is signed
out. The way back cannot find the keys again: there, everybody signs in anew."""

from django.db import migrations, models

HASH = """
UPDATE accounts_session
   SET session_key = encode(sha256(convert_to(session_key, 'UTF8')), 'hex')
 WHERE length(session_key) < 64
"""


class Migration(migrations.Migration):
    dependencies = [("accounts", "0002_security_record")]

    operations = [
        migrations.AlterField(
            model_name="session",
            name="session_key",
            field=models.CharField(
                max_length=64,
                primary_key=True,
                serialize=False,
                verbose_name="session key",
            ),
        ),
        migrations.RunSQL(HASH, "DELETE FROM accounts_session"),
    ]
