"""The record of who came in, who was kept out, and who was given what.

A row is written by `SecurityRecord.objects.note()` alone, and never changed. It also is
one line of the log, by the logger `rollcall.security`.
"""

import logging
from datetime import timedelta

from allauth.core import context
from allauth.core.internal.httpkit import get_client_ip
from django.conf import settings
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from accounts import browsers
from accounts.names import fold

MAX_DETAIL = 200
logger = logging.getLogger("rollcall.security")


class Kind(models.TextChoices):
    SIGN_IN = "sign_in", _("signed in")
    SIGN_OUT = "sign_out", _("signed out")
    SIGN_IN_FAILED = "sign_in_failed", _("sign-in failed")
    LOCK_OUT = "lock_out", _("locked out")
    SIGN_UP = "sign_up", _("signed up")
    RESET_ASKED = "reset_asked", _("password reset requested")
    RESET = "reset", _("password reset")
    PASSWORD = "password", _("password changed")
    ADDRESS = "address", _("e-mail address changed")
    PRIVILEGE = "privilege", _("privileges changed")
    SECOND_FACTOR = "second_factor", _("second factor changed")
    LINK_MADE = "link_made", _("sign-in link created")
    LINK_USED = "link_used", _("sign-in link used")


# Somebody tries what they may not: worth a warning in the log.
WARNINGS = {Kind.SIGN_IN_FAILED, Kind.LOCK_OUT}


def by_whom():
    """Who does it, as the end of a detail: the person whose request this is."""
    person = getattr(context.request, "user", None)
    return f"; by {person}" if person else "; by a command"


class SecurityRecordQuerySet(models.QuerySet):
    def older_than(self, days):
        return self.filter(at__lt=timezone.now() - timedelta(days=days))

    def note(self, kind, user=None, detail=""):
        """Write down that this happened, to whom, and from where it was asked.

        What a stranger typed is kept nowhere: it may be a password in the wrong field.
        So a failure at a name that nobody has is a row without a name.
        """
        request = context.request
        record = self.create(
            kind=kind,
            user=user,
            name=user.username if user else "",
            slug=fold(user.username) if user else "",
            address=request and get_client_ip(request),
            browser=(request.headers.get("User-Agent", "") if request else "")[:200],
            detail=detail[:MAX_DETAIL],
        )
        record.tell()
        return record


class SecurityRecord(models.Model):
    """Something that happened to an account, for whoever has to find out later."""

    at = models.DateTimeField(_("when"), default=timezone.now)
    kind = models.CharField(_("what"), max_length=20, choices=Kind)
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        models.SET_NULL,
        null=True,
        related_name="security_records",
        verbose_name=_("person"),
    )
    # As it was then; it stays when the person goes.
    name = models.CharField(_("name"), max_length=255, blank=True)
    slug = models.CharField(max_length=255, blank=True)
    address = models.GenericIPAddressField(_("address"), null=True)
    browser = models.CharField(_("browser"), max_length=200, blank=True)
    detail = models.CharField(_("detail"), max_length=MAX_DETAIL, blank=True)

    objects = SecurityRecordQuerySet.as_manager()

    class Meta:
        verbose_name = _("security record")
        verbose_name_plural = _("security records")
        indexes = [
            models.Index(fields=["at"], name="security_at"),
            models.Index(fields=["kind", "-id"], name="security_kind"),
            models.Index(
                fields=["slug", "-id"],
                opclasses=["varchar_pattern_ops", "int8_ops"],
                name="security_slug",
            ),
        ]

    def __str__(self):
        return f"{self.at:%Y-%m-%d %H:%M} {self.kind} {self.name}".rstrip()

    @property
    def browser_in_words(self):
        return browsers.in_words(self.browser) if self.browser else ""

    def tell(self):
        """The same as a line of the log, which has the facts as fields in JSON."""
        facts = {
            "kind": str(self.kind),
            "user": self.user_id,
            "name": self.name,
            "address": self.address,
            "detail": self.detail,
        }
        told = {what: fact for what, fact in facts.items() if fact}
        level = logging.WARNING if self.kind in WARNINGS else logging.INFO
        line = " ".join(f"{what}={fact}" for what, fact in told.items())
        logger.log(level, "%s", line, extra={"facts": told})
