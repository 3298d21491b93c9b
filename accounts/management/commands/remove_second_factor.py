from django.core.management.base import BaseCommand, CommandError

from accounts.models import User
from accounts.second_factor import remove_all


class Command(BaseCommand):
    help = (
        "Remove a person's second factor, for somebody who has lost it: the app, all"
        " passkeys and the recovery codes. Without --yes: only say what there is."
    )

    def add_arguments(self, parser):
        parser.add_argument("name", help="the name of a person")
        parser.add_argument("--yes", action="store_true", help="do it")

    def handle(self, *, name, yes, **options):
        person = User.objects.named(name).first()
        if person is None:
            raise CommandError(f"There is nobody named {name!r}.")
        factors = list(person.authenticator_set.order_by("pk"))
        if not factors:
            raise CommandError(f"{person.username} has no second factor.")
        for factor in factors:
            self.stdout.write(f"{factor.get_type_display()}, {factor.created_at:%F}")
        if not yes:
            self.stdout.write("Nothing was changed. `--yes` does it.")
            return
        remove_all(person)
        self.stdout.write(
            f"{person.username} signs in by the password alone, and is signed out"
            " everywhere."
        )
