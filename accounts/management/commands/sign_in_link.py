from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from django.urls import reverse

from accounts import sign_in_links
from accounts.models import User
from accounts.security_record import Kind, SecurityRecord


class Command(BaseCommand):
    help = (
        "Print a link with which a person chooses a new password and signs in: for one"
        " use, within an hour. Give it to nobody else."
    )

    def add_arguments(self, parser):
        parser.add_argument("name", help="the person's name")

    def handle(self, *, name, **options):
        person = User.objects.named(name).first()
        if person is None:
            raise CommandError(f"Nobody is called {name}.")
        if not person.is_active:
            raise CommandError(f"{person} is deactivated: change that in the admin.")
        SecurityRecord.objects.note(Kind.LINK_MADE, person)
        path = reverse("accounts:sign_in_link", args=[sign_in_links.token_for(person)])
        self.stdout.write(settings.ORIGINS[0] + path)
