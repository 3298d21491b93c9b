"""A person's e-mail address, as somebody else gives it. allauth's table decides who
gets letters, so it is changed together with the field of the person."""

from allauth.account.models import EmailAddress
from allauth.account.signals import email_changed
from django.db import transaction

from accounts.models import User


def is_taken(email, person):
    """Whether anybody but the person has shown that the address is theirs."""
    known = EmailAddress.objects.filter(email__iexact=email, verified=True)
    return known.exclude(user=person.pk).exists()


@transaction.atomic
def give(person, email, request):
    """Make it their only address, to be confirmed by the letter that is sent there.

    "" is none. No former one gets another letter or is good for signing in.
    """
    former = EmailAddress.objects.filter(user=person).order_by("-primary").first()
    EmailAddress.objects.filter(user=person).delete()
    User.objects.filter(pk=person.pk).update(email=email)
    if email:
        address = EmailAddress.objects.create(user=person, email=email, primary=True)
        transaction.on_commit(lambda: address.send_confirmation(request))
        email_changed.send(
            sender=User,
            request=request,
            user=person,
            from_email_address=former,
            to_email_address=address,
        )
