from allauth.account.auth_backends import AuthenticationBackend
from allauth.account.internal.userkit import filter_users_by_email

from accounts.models import User
from accounts.names import fold


class PeopleBackend(AuthenticationBackend):
    """Knows a person by their name, however cased or composed, or by e-mail address.

    Each attempt checks one password hash, whether there is such a person or not, so
    that the time it takes tells nothing. (allauth itself checks a known address twice.)
    """

    def _authenticate(self, request, **credentials):
        login = credentials.get("username") or credentials.get("email") or ""
        for person in _people_called(login):
            if self._check_password(person, credentials["password"]):
                return person
        return None


def _people_called(login):
    if "@" in login:
        return filter_users_by_email(login, prefer_verified=True, for_login=True)
    return User.objects.filter(slug=fold(login))
