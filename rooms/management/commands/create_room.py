from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError

from accounts.models import User
from rooms.forms import RoomForm
from rooms.models import Room


class Command(BaseCommand):
    help = "Make a room."

    def add_arguments(self, parser) -> None:
        parser.add_argument("name")
        parser.add_argument("--owner", required=True, help="the name of a person")
        parser.add_argument("--topic", default="")

    def handle(self, *, name, owner, topic, **options):
        person = User.objects.named(owner).first()
        if person is None:
            raise CommandError(f"There is nobody named {owner!r}.")
        if not person.is_active:
            raise CommandError(f"The account of {person.username} is closed.")
        form = RoomForm({"name": name, "topic": topic})
        if not form.is_valid():
            raise CommandError(_first_error(form))
        room = Room.objects.create_with_owner(
            owner=person, by_operator=True, **form.cleaned_data
        )
        self.stdout.write(f"Made the room {room.name}, owned by {person.username}.")


def _first_error(form):
    field, (error, *_more) = next(iter(form.errors.items()))
    return ValidationError(f"{form.fields[field].label}: {error}").message
