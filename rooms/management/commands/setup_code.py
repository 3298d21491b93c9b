from django.core.management.base import BaseCommand, CommandError

from rooms.forms import is_new
from rooms.setup_code import setup_code


class Command(BaseCommand):
    help = "Print the code that the first-run page asks for."

    def handle(self, **options):
        if not is_new():
            raise CommandError("This chat is set up: no code is asked for any more.")
        self.stdout.write(setup_code())
