"""What is written into the security record, and when: at signals of Django's and
allauth's. Who gets or loses privileges, `User.save` tells."""

from allauth.account import signals as account
from allauth.mfa import signals as mfa
from django.contrib.auth import signals as auth
from django.db.models.signals import m2m_changed
from django.dispatch import receiver

from accounts.models import User
from accounts.security_record import Kind, SecurityRecord, by_whom


def note(*args, **kwargs):
    SecurityRecord.objects.note(*args, **kwargs)


@receiver(auth.user_logged_in)
def _signed_in(user, **_signal):
    note(Kind.SIGN_IN, user)


@receiver(auth.user_logged_out)
def _signed_out(user, **_signal):
    if user:
        note(Kind.SIGN_OUT, user)


@receiver(auth.user_login_failed)
def _failed(credentials, **_signal):
    note(Kind.SIGN_IN_FAILED, User.objects.called(credentials.get("username", "")))


@receiver(account.user_signed_up)
def _signed_up(user, **_signal):
    note(Kind.SIGN_UP, user)


@receiver([account.password_changed, account.password_set])
def _changed_password(user, **_signal):
    note(Kind.PASSWORD, user)


@receiver(account.password_reset)
def _reset_password(user, **_signal):
    note(Kind.RESET, user)


@receiver(account.email_changed)
def _changed_address(user, **_signal):
    note(Kind.ADDRESS, user, f"changed{by_whom()}")


@receiver(account.email_removed)
def _removed_address(user, **_signal):
    note(Kind.ADDRESS, user, f"removed{by_whom()}")


@receiver(mfa.authenticator_added)
def _added_factor(user, authenticator, **_signal):
    note(Kind.SECOND_FACTOR, user, f"{authenticator.type} added")


@receiver(mfa.authenticator_removed)
def _removed_factor(user, authenticator, **_signal):
    note(Kind.SECOND_FACTOR, user, f"{authenticator.type} removed{by_whom()}")


@receiver(mfa.authenticator_reset)
def _renewed_codes(user, authenticator, **_signal):
    note(Kind.SECOND_FACTOR, user, f"{authenticator.type} renewed")


@receiver(mfa.authentication_failed)
def _failed_factor(user, authenticator, **_signal):
    note(Kind.SIGN_IN_FAILED, user, str(authenticator.type))


@receiver(m2m_changed, sender=User.groups.through)
@receiver(m2m_changed, sender=User.user_permissions.through)
def _changed_rights(sender, instance, action, reverse, pk_set, **_signal):
    if action.startswith("post_") and (pk_set or action == "post_clear"):
        people = User.objects.filter(pk__in=pk_set or []) if reverse else [instance]
        what = "groups" if sender is User.groups.through else "user_permissions"
        for person in people:
            note(Kind.PRIVILEGE, person, f"{what} {action[5:]}{by_whom()}")
