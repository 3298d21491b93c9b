import random
import secrets
import uuid
from datetime import timedelta

from django.core.management.base import BaseCommand, CommandError
from django.db import transaction
from django.utils import timezone

from accounts.models import User
from accounts.names import fold
from messaging.demo import PEOPLE, ROOMS, SAYINGS
from messaging.models import Message
from messaging.rendering.markdown import to_html
from rooms.models import Event, Membership, Node, Room, Visit
from rooms.models.attendance import Cause
from rooms.models.log import timestamp, writing
from rooms.rights import Role

DAY = timedelta(hours=15)  # from eight o'clock: the next one is always later


class Command(BaseCommand):
    help = "Make people, rooms and some days of talk, to try the chat with."

    def add_arguments(self, parser) -> None:
        parser.add_argument("--days", type=int, default=5, help="days of talk (5)")
        parser.add_argument(
            "--messages", type=int, default=60, help="messages a room and day (60)"
        )
        parser.add_argument(
            "--seed", type=int, default=1, help="the same talk each time"
        )

    def handle(self, *, days, messages, seed, **options):
        if not (1 <= days <= 365 and 1 <= messages <= 10_000):
            raise CommandError("--days is 1 to 365, and --messages 1 to 10000.")
        taken = set(Room.everything.values_list("slug", flat=True))
        rooms = [(name, topic) for name, topic in ROOMS if fold(name) not in taken]
        if not rooms:
            raise CommandError("All rooms of the demo are there already.")
        self.dice = random.Random(seed)
        password = secrets.token_urlsafe(9)
        people = self._people(password)
        node = Node.objects.create(name="seed_demo", stopped_at=timezone.now())
        for number, (name, topic) in enumerate(rooms, start=1):
            count = self._room(name, topic, people, node, days, messages)
            self.stdout.write(f"{number}/{len(rooms)} {name}: {count} events")
        if self.made:
            names = ", ".join(person.username for person in self.made[:3])
            self.stdout.write(f"Sign in as {names} … with the password {password}")

    @transaction.atomic
    def _people(self, password):
        """Those of the demo; who is there already keeps their password."""
        there = {name: User.objects.named(name).first() for name in PEOPLE}
        made = {
            name: User.objects.create_user(name, password=password)
            for name, person in there.items()
            if person is None
        }
        self.made = list(made.values())
        return list((there | made).values())

    def _room(self, name, topic, people, node, days, count):
        owner, *others = self.dice.sample(people, k=self.dice.randint(5, len(people)))
        start = timezone.now().replace(hour=8, minute=0) - timedelta(days=days)
        with transaction.atomic():
            room = Room.objects.create(name=name, topic=topic)
            Room.objects.filter(pk=room.pk).update(created_at=start)
            with writing(room.pk) as log:
                log.now = start
                for person in (owner, *others):
                    event = log.append(room.pk, Event.Kind.JOIN, person)
                    role = Role.OWNER if person == owner else Role.MEMBER
                    Membership.objects.create(
                        room=room, user=person, role=role, joined_seq=event.seq
                    )
        for day in range(days):
            self._day(room, [owner, *others], node, start + timedelta(days=day), count)
        room.head.refresh_from_db()
        return room.head.seq

    def _day(self, room, people, node, start, count) -> None:
        """Everybody comes in at some time, they talk, everybody goes."""
        with writing(room.pk) as log:
            messages = []
            log.now = start + timedelta(minutes=self.dice.randint(1, 90))
            self.end = start + DAY
            here = {}
            for _nth in range(count):
                self._pass_time(log, count)
                away = [person for person in people if person not in here]
                if away and (len(here) < 2 or self.dice.random() < 0.08):
                    comer = self.dice.choice(away)
                    here[comer] = log.now
                    role = "owner" if comer == people[0] else "member"
                    log.append(room.pk, Event.Kind.ENTER, comer, role=role)
                    self._pass_time(log, count)
                speaker = self.dice.choice(list(here))
                messages.append(self._message(log, room, speaker))
                if len(here) > 3 and self.dice.random() < 0.05:
                    self._leave(log, room, node, here, self.dice.choice(list(here)))
            for person in list(here):
                self._pass_time(log, count)
                self._leave(log, room, node, here, person)
            log.flush()
            for message in messages:
                message.event_id = message.event.pk
            Message.objects.store(messages)

    def _pass_time(self, log, count) -> None:
        pause = timedelta(seconds=self.dice.expovariate(count / (8 * 3600)) + 1)
        log.now = min(log.now + pause, self.end)

    def _message(self, log, room, speaker):
        body = self.dice.choice(SAYINGS)
        event = log.append(room.pk, Event.Kind.MESSAGE, speaker)
        event.message = Message(
            event=event,
            author=speaker,
            key=str(uuid.uuid4()),
            body=body,
            html=to_html(body),
        )
        return event.message

    def _leave(self, log, room, node, here, person) -> None:
        cause = self.dice.choices([Cause.CLOSED, Cause.TIMED_OUT], weights=[5, 1])[0]
        Visit.objects.create(
            room=room,
            user=person,
            node=node,
            opened_at=here.pop(person),
            closed_at=log.now,
            cause=cause,
            settled=True,
        )
        seen = timestamp(log.now)
        log.append(room.pk, Event.Kind.LEAVE, person, cause=cause, seen=seen)
