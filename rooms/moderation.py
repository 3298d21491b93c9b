"""What can be done to a room and its members, and by whom.

A verb checks the right of who does it under the room's lock, changes the room, and
writes the event that says so: one transaction. It returns the event, or raises Refused.
(Posting and entering go by the writer of messaging, many at a time.)
"""

import unicodedata
from contextlib import contextmanager
from datetime import timedelta

from django.utils.translation import gettext

from accounts.models import User
from rooms.models import attendance
from rooms.models.attendance import Cause
from rooms.models.log import Event, writing
from rooms.removals import removal_of
from rooms.rights import NOT_WHILE_ARCHIVED, Act, Refused, Role, may

MAX_TOPIC = 200
MAX_REASON = 200
KEPT_DELETED = timedelta(days=30)  # then `purge` removes a deleted room for good


class Moderation:
    """The verbs of a Room."""

    def role_of(self, user):
        """The role of `user` in this room; None for who is no member."""
        membership = self.memberships.filter(user_id=user.pk).first()
        return membership and membership.role

    # The verbs -----------------------------------------------------------------------

    def admit(self, user):
        """`user` becomes a member; nothing happens if they are one.

        Refused for a while after a kick (KICK_SECONDS), by whatever door they come.
        """
        with self._acting(user) as log:
            if not user.is_active:
                raise Refused("not_allowed", gettext("This account is deactivated."))
            if self.role_of(user):
                return None
            if self.archived_at:
                raise Refused("archived", gettext("This room is archived."))
            if removal := removal_of(user, self):
                raise Refused("removed", str(removal))
            event = log.append(self.pk, Event.Kind.JOIN, user)
            self.memberships.create(user=user, joined_seq=event.seq)
            return event

    def part(self, user):
        """`user` gives up membership; the last owner cannot."""
        with self._acting(user, Act.LEAVE) as log:
            self._keep_an_owner(besides=user)
            self.memberships.filter(user=user).delete()
            event = log.append(self.pk, Event.Kind.PART, user)
            attendance.end_visits(log, self.pk, user, Cause.CLOSED)
            return event

    def kick(self, target, by, reason=""):
        """`target` is removed: no member any more, their sockets close, and for
        KICK_SECONDS they cannot join again."""
        reason = one_line(reason, MAX_REASON)
        with self._acting(by, Act.KICK, target) as log:
            self._keep_an_owner(besides=target)
            self.memberships.filter(user=target).delete()
            event = log.append(self.pk, Event.Kind.KICK, by, target=target, text=reason)
            attendance.end_visits(log, self.pk, target, Cause.KICKED)
            return event

    def give_role(self, target, role, by):
        """`target`, a member, is now owner, moderator or member."""
        if role not in Role.values:
            raise Refused("bad_field", gettext("There’s no such role."))
        with self._acting(by, Act.ROLE, target) as log:
            if role != Role.OWNER:
                self._keep_an_owner(besides=target)
            self.memberships.filter(user=target).update(role=role)
            return log.append(self.pk, Event.Kind.ROLE, by, target=target, role=role)

    def set_topic(self, topic, by):
        topic = one_line(topic, MAX_TOPIC)
        with self._acting(by, Act.TOPIC) as log:
            self._change(topic=topic)
            return log.append(self.pk, Event.Kind.TOPIC, by, text=topic)

    def clear(self, by, reason=""):
        """All events so far are hidden, until the clear is taken back."""
        reason = one_line(reason, MAX_REASON)
        with self._acting(by, Act.CLEAR) as log:
            event = log.append(
                self.pk, Event.Kind.CLEAR, by, text=reason, before=self.floor
            )
            self._change(floor=event.seq)
            return event

    def restore(self, seq, by):
        """Take back the clear numbered `seq`, which must be the one in force."""
        with self._acting(by, Act.RESTORE) as log:
            clear = self.events.filter(seq=seq, kind=Event.Kind.CLEAR).first()
            if clear is None or seq != self.floor:
                raise Refused(
                    "bad_field",
                    gettext("Only the most recently cleared history can be restored."),
                )
            self._change(floor=clear.data["before"])
            return log.append(
                self.pk, Event.Kind.RESTORE, by, about=seq, floor=self.floor
            )

    def archive(self, by, archived=True):
        """An archived room takes none of NOT_WHILE_ARCHIVED, and nobody joins it;
        `archived=False` opens it again."""
        with self._acting(by, Act.ARCHIVE) as log:
            if bool(self.archived_at) == archived:
                return None
            self._change(archived_at=log.now if archived else None)
            return log.append(self.pk, Event.Kind.ARCHIVE, by, archived=archived)

    def delete_room(self, by):
        """The room is hidden from everybody, and everybody in it exits. Its name
        stays taken until `purge` removes it, KEPT_DELETED later.

        Who is no superuser can do it only while nobody else has spoken there.
        """
        with self._acting(by, Act.DELETE_ROOM) as log:
            self._keep_words_of_others(by)
            self._change(deleted_at=log.now)
            event = log.append(self.pk, Event.Kind.DELETE_ROOM, by)
            attendance.end_all_visits(log, self.pk, Cause.DELETED)
            return event

    def recover_room(self, by):
        """A deleted room is as it was; nothing happens to one that is not deleted."""
        with self._acting(by, Act.RECOVER_ROOM, even_deleted=True) as log:
            if not self.deleted_at:
                return None
            self._change(deleted_at=None)
            return log.append(self.pk, Event.Kind.RECOVER_ROOM, by)

    # What the verbs are made of -----------------------------------------------------

    @contextmanager
    def _acting(self, by, act=None, target=None, even_deleted=False):
        """The room's log, opened for `by` to do `act` to `target`, or Refused."""
        with writing(self.pk) as log:
            if self.pk in log.rooms:
                self.refresh_from_db()
            if self.pk not in log.rooms or (self.deleted_at and not even_deleted):
                raise Refused("not_allowed", gettext("This room no longer exists."))
            if act is not None:
                self._check(by, act, target)
            yield log

    def _check(self, by, act, target):
        # Read anew, under the lock: a socket has held its user for hours.
        by = User.objects.filter(pk=by.pk).first()
        target_role = target and self.role_of(target)
        may_act = by and may(by, act, self.role_of(by), target_role)
        if not may_act or (act == Act.KICK and by == target):
            raise Refused(
                "not_allowed", gettext("You don’t have permission to do that here.")
            )
        if target and not target_role:
            detail = gettext("%(name)s isn’t a member of this room.")
            raise Refused("bad_field", detail % {"name": target.username})
        if self.archived_at and act in NOT_WHILE_ARCHIVED:
            raise Refused("archived", gettext("This room is archived."))

    def _change(self, **fields) -> None:
        for name, value in fields.items():
            setattr(self, name, value)
        self.save(update_fields=fields)

    def _keep_words_of_others(self, by):
        if User.objects.filter(pk=by.pk, is_superuser=True).exists():
            return
        said = self.events.filter(kind=Event.Kind.MESSAGE)
        if said.exclude(actor_id=by.pk).exists():
            detail = gettext(
                "Other people have written here, so only an administrator can delete "
                "the room."
            )
            raise Refused("not_allowed", detail)

    def _keep_an_owner(self, besides):
        owners = self.memberships.filter(role=Role.OWNER, user__is_active=True)
        others = owners.exclude(user=besides)
        if self.role_of(besides) == Role.OWNER and not others.exists():
            raise Refused(
                "not_allowed",
                gettext("A room needs an owner. Make somebody else an owner first."),
            )


def one_line(text, limit):
    """One line of text; Refused where it is too long or cannot be stored."""
    text = " ".join(text.split())
    if any(unicodedata.category(letter) == "Cc" for letter in text):
        raise Refused("bad_field", gettext("The text contains a control character."))
    if len(text) > limit:
        detail = gettext("At most %(limit)s characters.")
        raise Refused("too_long", detail % {"limit": limit})
    return text


def find_person(name):
    """The person of that name, with or without an @ before it; Refused if none."""
    person = User.objects.named(name.removeprefix("@")).first()
    if person is None:
        raise Refused("bad_field", gettext("Nobody has this name."))
    return person
