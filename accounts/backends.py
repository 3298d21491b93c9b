from allauth.account.auth_backends import AuthenticationBackend

from accounts.models import User


class PeopleBackend(AuthenticationBackend):
    """Knows a person by their name, however cased or composed, or by an e-mail address
    that was verified: another one may be somebody else's.

    Each attempt asks one query and checks one password hash, whether there is such a
    person or not, so that the time it takes tells nothing.
    """

    def _authenticate(self, request, **credentials):
        login = credentials.get("username") or credentials.get("email") or ""
        person = User.objects.called(login)
        return self._check_password(person, credentials["password"])
