from django.apps import AppConfig
from django.contrib.admin import apps as admin
from django.utils.translation import gettext_lazy as _


class AccountsConfig(AppConfig):
    name = "accounts"
    verbose_name = _("Accounts")

    def ready(self):
        from accounts import (  # noqa: F401  they listen
            second_factor,
            security_signals,
            sessions,
        )


class AdministrationConfig(admin.AdminConfig):
    default = False
    default_site = "accounts.administration.Administration"
