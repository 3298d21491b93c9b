from datetime import timedelta
from hashlib import sha256

from allauth.core import context
from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY
from django.contrib.auth.models import AbstractUser, UserManager
from django.contrib.sessions.base_session import AbstractBaseSession, BaseSessionManager
from django.core.exceptions import ValidationError
from django.db import models, transaction
from django.db.models import F, Q
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext_lazy as _

from accounts import browsers
from accounts.names import (
    FoldedNameField,
    NameField,
    SkeletonField,
    fold,
    skeleton,
    validate_persons_name,
)
from accounts.security_record import Kind, SecurityRecord, by_whom

NAME_TAKEN = _("This name is already taken.")
LOOKS_TAKEN = _("A name that looks the same is already taken.")
PRIVILEGES = ["is_active", "is_staff", "is_superuser"]
WATCHED = {"password", *PRIVILEGES}


class PeopleManager(UserManager):
    def get_by_natural_key(self, username):
        """The person of that name, however it is cased or composed."""
        return self.get(slug=fold(username))

    def called(self, login):
        """The person of that name or *verified* e-mail address, or None; one query."""
        if "@" not in login:
            return self.named(login).first()
        own = {"emailaddress__email": login.lower(), "emailaddress__verified": True}
        return self.filter(**own).first()

    def reachable_at(self, address):
        """The active person to whom a letter about their password may go there, or
        None; one query. Who verified the address comes before who only claims it."""
        claims = Q(email=address) | Q(emailaddress__email=address)
        sure = Q(emailaddress__email=address, emailaddress__verified=True)
        people = self.filter(claims, is_active=True).annotate(is_sure=sure)
        return people.order_by(F("is_sure").desc(nulls_last=True), "pk").first()

    def named(self, username):
        """The person of that name as a queryset of one, or of none."""
        return self.filter(slug=fold(username))

    @classmethod
    def normalize_email(cls, email):
        """In lower case, as allauth looks addresses up."""
        return (email or "").lower()


class User(AbstractUser):
    """A person. The name is what others see; it is unique by its folded twin."""

    first_name = None
    last_name = None
    username = NameField(
        _("name"),
        unique=True,
        help_text=_(
            "Up to 32 characters: letters of any alphabet, digits, “_” and “-”."
        ),
        error_messages={"unique": NAME_TAKEN},
    )
    slug = FoldedNameField(of="username")
    skeleton = SkeletonField(of="username")
    email = models.EmailField(_("e-mail address"), blank=True)

    objects = PeopleManager()

    class Meta:
        verbose_name = _("person")
        verbose_name_plural = _("people")

    def __str__(self):
        return self.username

    @property
    def has_second_factor(self):
        """Whether they sign in by more than the password. Recovery codes stand in for
        a factor, and are none."""
        return self.authenticator_set.exclude(type="recovery_codes").exists()

    def get_full_name(self):
        return self.username

    def get_short_name(self):
        return self.username

    def clean(self):
        """Of a name that is new to its bearer. One kept from before stays good."""
        super().clean()
        others = User.objects.exclude(pk=self.pk)
        if others.filter(slug=fold(self.username)).exists():
            raise ValidationError({"username": NAME_TAKEN})
        if not User.objects.filter(pk=self.pk, username=self.username).exists():
            self._clean_new_name(others)

    def _clean_new_name(self, others):
        try:
            validate_persons_name(self.username, self.is_staff or self.is_superuser)
        except ValidationError as error:
            raise ValidationError({"username": error}) from None
        if others.filter(skeleton=skeleton(self.username)).exists():
            raise ValidationError({"username": LOOKS_TAKEN})

    def save(self, *args, update_fields=None, **kwargs):
        """Save, and end the sessions of who got a new password or is inactive."""
        if update_fields is not None and "username" in update_fields:
            update_fields = {*update_fields, "slug", "skeleton"}
        before = self._stored(update_fields)
        with transaction.atomic():
            super().save(*args, update_fields=update_fields, **kwargs)
            if not self.is_active:
                self.sessions.all().delete()
            elif before.get("password", self.password) != self.password:
                self.sessions.besides(_own_session_key()).delete()
            self._note_privileges(before)

    def _stored(self, update_fields):
        """What the table has of the password and privileges that are to be saved.
        Somebody new has no more than what everybody gets."""
        watched = WATCHED if update_fields is None else WATCHED & {*update_fields}
        if self._state.adding:
            return {name: getattr(User(), name) for name in PRIVILEGES}
        if not watched:
            return {}
        return User.objects.filter(pk=self.pk).values(*watched).first() or {}

    def _note_privileges(self, before):
        changes = [
            f"{name} {'on' if getattr(self, name) else 'off'}"
            for name in PRIVILEGES
            if name in before and getattr(self, name) != before[name]
        ]
        if changes:
            told = ", ".join(changes)
            SecurityRecord.objects.note(Kind.PRIVILEGE, self, f"{told}{by_whom()}")


def _own_session_key():
    """The key of the session that this request came with; None in a command.

    Who changes their password stays signed in there: Django gives them a new key.
    """
    return context.request and context.request.session.session_key


class SessionQuerySet(models.QuerySet):
    def alive(self):
        return self.filter(expire_date__gt=timezone.now(), user__is_active=True)

    def ended(self):
        return self.filter(expire_date__lte=timezone.now())

    def take_over(self, sessions):
        """Store these sessions of another time, as far as their people are there now,
        active, and with the password that they had signed in with."""
        people = User.objects.filter(is_active=True).in_bulk(
            {session.user_id for session in sessions}
        )
        for session in sessions:
            session.user = people.get(session.user_id)
        self.bulk_create(
            session for session in sessions if session.user and session.is_proven()
        )

    def besides(self, session_key):
        """All but that of the key, which is the cookie's; None leaves nothing out."""
        return self.exclude(pk=Session.hash_of(session_key)) if session_key else self


class Session(AbstractBaseSession):
    """A signed-in browser (or one not yet signed in), and when it was last seen."""

    SEEN_EVERY = timedelta(minutes=1)

    # Its hash: who reads the table, or a copy of it, cannot sign in with that.
    session_key = models.CharField(_("session key"), max_length=64, primary_key=True)
    user = models.ForeignKey(User, models.CASCADE, null=True, related_name="sessions")
    browser = models.CharField(_("browser"), max_length=200, blank=True)
    address = models.GenericIPAddressField(_("address"), null=True)
    seen_at = models.DateTimeField(_("last seen"), default=timezone.now)

    objects = BaseSessionManager.from_queryset(SessionQuerySet)()

    successor = None  # the hash of the key that the browser goes on with, if it got one

    @classmethod
    def get_session_store_class(cls):
        from accounts.sessions import SessionStore

        return SessionStore

    def save(self, *args, force_update=False, update_fields=None, **kwargs):
        """Save; the engine, which knows neither browser nor address, leaves them."""
        if force_update:
            update_fields = ["session_data", "expire_date", "user"]
        super().save(
            *args, force_update=force_update, update_fields=update_fields, **kwargs
        )

    @staticmethod
    def hash_of(session_key):
        """What a session is known by outside of its cookie: SHA-256, in hex. A key has
        160 random bits, so nobody finds it by trying."""
        return sha256((session_key or "").encode()).hexdigest()

    @property
    def handle(self):
        """What the session is called on a page."""
        return self.pk[:16]

    @property
    def browser_in_words(self):
        return browsers.in_words(self.browser)

    @property
    def is_in_use(self):
        return self.seen_at > timezone.now() - 2 * self.SEEN_EVERY

    def is_proven(self):
        """Django's check that the password is still the one that was signed in with."""
        data, user = self.get_decoded(), self.user
        if data.get(BACKEND_SESSION_KEY) not in settings.AUTHENTICATION_BACKENDS:
            return False
        proof = data.get(HASH_SESSION_KEY, "")
        valid = [user.get_session_auth_hash(), *user.get_session_auth_fallback_hash()]
        return any(constant_time_compare(proof, each) for each in valid)

    def note(self, browser, address):
        """Remember when and from where the session was used; at most once a minute."""
        seen = {"browser": browser[:200], "address": address}
        is_news = any(getattr(self, name) != value for name, value in seen.items())
        if is_news or self.seen_at < timezone.now() - self.SEEN_EVERY:
            Session.objects.filter(pk=self.pk).update(seen_at=timezone.now(), **seen)
