"""The settings: the one place that reads the environment (or the file `.env`).

`.env.example` explains every variable.
"""

import os
from pathlib import Path

from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from config import embedded
from config.environment_readers import Environment, host_of, is_every_address

BASE_DIR = Path(__file__).resolve().parent.parent

env = Environment()
env.read_file(os.environ.get("ENV_FILE"), BASE_DIR / ".env")

# What runs where ------------------------------------------------------------------

VAR_DIR = env.folder("VAR_DIR", BASE_DIR / "var")
HOST = env.text("HOST", "127.0.0.1")
PORT = env.number("PORT", 8000)
PUBLIC_URL = env.origin("PUBLIC_URL")
TRUST_PROXY = env.switch("TRUST_PROXY")
DATABASE = env.database("DATABASE_URL")
REDIS_URL = env.redis("REDIS_URL")
DEBUG = env.switch("DEBUG")

if is_every_address(HOST) and not PUBLIC_URL:
    raise ImproperlyConfigured(
        f"HOST={HOST} lets others in: set PUBLIC_URL to the address they will type."
    )

# The address people type decides about hosts, origins and cookies.
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
NAMES = LOOPBACK if HOST in (*LOOPBACK, "::1") else (HOST,)
ORIGINS = [PUBLIC_URL] if PUBLIC_URL else [f"http://{name}:{PORT}" for name in NAMES]
ALLOWED_HOSTS = [host_of(origin) for origin in ORIGINS]
ON_LOOPBACK = NAMES == LOOPBACK and set(ALLOWED_HOSTS) <= set(LOOPBACK)
CSRF_TRUSTED_ORIGINS = ORIGINS
SECURE = PUBLIC_URL.startswith("https://")

if DEBUG and (PUBLIC_URL or not ON_LOOPBACK):
    raise ImproperlyConfigured(
        "DEBUG=true shows the insides of every error to whoever can open the page: it "
        "goes with neither PUBLIC_URL nor a HOST that others reach. Leave it out."
    )

if SECURE and not TRUST_PROXY:
    raise ImproperlyConfigured(
        "PUBLIC_URL is https, which takes a proxy in front: set TRUST_PROXY=true."
    )

# Django ---------------------------------------------------------------------------

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
INSTALLED_APPS = [
    "daphne",
    "config",
    "accounts",
    "rooms",
    "messaging",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "accounts.apps.AdministrationConfig",  # django.contrib.admin
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "csp",
]
MIDDLEWARE = [
    "config.headers.page_headers",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "accounts.session_watch.session_watch",
    "accounts.session_watch.sign_out",
    "accounts.reauthentication.middleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "csp.context_processors.nonce",
            ],
        },
    },
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Stores ---------------------------------------------------------------------------

# A server that went away without a word is found out in seconds, not in hours.
DATABASE_LINE = {
    "connect_timeout": 3,
    "tcp_user_timeout": 10_000,  # milliseconds
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
}
DATABASES = {
    "default": {
        **(DATABASE or embedded.database(VAR_DIR)),
        "CONN_MAX_AGE": 0,  # a connection kept by a thread would leak under ASGI
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {**DATABASE_LINE, **DATABASE.get("OPTIONS", {})},
    }
}
# A command takes the time it needs. In a server (`config/asgi.py`) nobody may keep the
# others waiting.
SERVING_DATABASE_OPTIONS = {
    "pool": {
        "min_size": 1,
        "max_size": env.number("DATABASE_POOL", 10),
        "timeout": 3,
        # An attempt waits longer each time; after an outage nobody shall wait for it.
        "reconnect_timeout": 2,
    },
    # A process that stands still in the middle of a transaction holds its rooms' locks:
    # it is let go before the others have waited for a lock as long as they may.
    "options": (
        "-c statement_timeout=3s -c lock_timeout=1s"
        " -c idle_in_transaction_session_timeout=800ms"
    ),
}

# What one person may make in 24 hours; superusers as many as they like.
ROOMS_PER_DAY = env.number("ROOMS_PER_DAY", 20)

# How long somebody who was kicked out of a room cannot join it again.
KICK_SECONDS = env.number("KICK_SECONDS", 600, highest=86_400)

# What one person may send over all their sockets; twice as many at once.
FRAMES_PER_SECOND = env.number("FRAMES_PER_SECOND", 10)

# The sockets of one person in one server process; a tab may open up to six.
SOCKETS_PER_PERSON = env.number("SOCKETS_PER_PERSON", 40)

if REDIS_URL:
    CACHES = {
        "default": {
            "BACKEND": "config.cache.ForgivingRedisCache",
            "LOCATION": REDIS_URL,
            "KEY_PREFIX": "rollcall",  # all that deploy/redis lets it touch
        }
    }
    CHANNEL_LAYERS = {
        "default": {
            "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
            "CONFIG": {"hosts": [REDIS_URL], "prefix": "rollcall"},
        }
    }
else:
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

# Secrets and cookies --------------------------------------------------------------

SECRET_KEY = env.text("SECRET_KEY")
SECRET_KEY_FALLBACKS = env.words("SECRET_KEY_FALLBACKS")

if (SECRET_KEY or DATABASE) and len(SECRET_KEY) < 50:
    raise ImproperlyConfigured(
        "SECRET_KEY must have 50 random characters or more, the same for all servers "
        "of one database; it may be left out only where DATABASE_URL is, too."
    )
SECRET_KEY = SECRET_KEY or embedded.secret_key(VAR_DIR)

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = SECURE
CSRF_COOKIE_HTTPONLY = LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
if SECURE:
    # Browsers take a cookie so named from nobody but this host, over https.
    SESSION_COOKIE_NAME = "__Host-sessionid"
    CSRF_COOKIE_NAME = "__Host-csrftoken"
KNOWN_BROWSER_COOKIE_NAME = "__Host-browser" if SECURE else "browser"

# What browsers may do -------------------------------------------------------------

SECURE_HSTS_SECONDS = 365 * 24 * 3600 if SECURE else 0
SECURE_SSL_REDIRECT = SECURE
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if TRUST_PROXY else None
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
# Subdomains and the browsers' preload list are for the owner of the whole domain.
SILENCED_SYSTEM_CHECKS = ["security.W005", "security.W021"]
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF, NONCE],  # the nonce is for the import map
        "style-src": [SELF],
        "img-src": [SELF],
        "font-src": [SELF],
        "manifest-src": [SELF],
        # Older Safaris do not count WebSockets as 'self'. (IPv6 has no form here.)
        "connect-src": [SELF, *(f"ws{at[4:]}" for at in ORIGINS if "[" not in at)],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        # Text becomes HTML by the policy of static/js/ui/dom.js, and nowhere else.
        "require-trusted-types-for": ["'script'"],
        "trusted-types": ["rollcall"],
    }
}

# Pieces of pages that are the same for everybody; kept by each process while it lives,
# but not from who is changing the templates.
CACHES["fragments"] = {
    "BACKEND": "django.core.cache.backends."
    + ("dummy.DummyCache" if DEBUG else "locmem.LocMemCache"),
    "LOCATION": "fragments",
    "TIMEOUT": None,
}

# Accounts -------------------------------------------------------------------------

AUTH_USER_MODEL = "accounts.User"
SESSION_ENGINE = "accounts.sessions"
SESSION_CACHE_ALIAS = "sessions"
CACHES["sessions"] = dict(CACHES["default"])
if REDIS_URL:
    CACHES["sessions"]["BACKEND"] = "config.cache.SessionCache"

LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "rooms:home"
LOGOUT_REDIRECT_URL = "account_login"
PASSWORD_HASHERS = ["accounts.hashers.Argon2"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
AUTHENTICATION_BACKENDS = ["accounts.backends.PeopleBackend"]

ACCOUNT_ADAPTER = "accounts.adapter.AccountAdapter"
ACCOUNT_FORMS = {
    "signup": "accounts.forms.SignUpForm",
    "login": "accounts.forms.SignInForm",
    "change_password": "accounts.forms.ChangePasswordForm",
    "set_password": "accounts.forms.SetPasswordForm",
    "reset_password": "accounts.forms.ResetPasswordForm",
    "reset_password_from_key": "accounts.forms.ResetPasswordKeyForm",
    "reauthenticate": "accounts.forms.ReauthenticateForm",
    "add_email": "accounts.forms.AddEmailForm",
}
ACCOUNT_LOGIN_METHODS = {"username", "email"}
ACCOUNT_SIGNUP_FIELDS = ["username*", "email", "password1*", "password2*"]
ACCOUNT_SESSION_REMEMBER = True
ACCOUNT_CHANGE_EMAIL = True
ACCOUNT_REAUTHENTICATION_REQUIRED = True  # to change the address a new password goes to
ACCOUNT_EMAIL_NOTIFICATIONS = True
# Asks the database nothing, as allauth's does: the time would tell who is known.
ACCOUNT_PASSWORD_RESET_TOKEN_GENERATOR = (
    "django.contrib.auth.tokens.PasswordResetTokenGenerator"  # noqa: S105  a class
)
ACCOUNT_EMAIL_SUBJECT_PREFIX = "[Rollcall] "
# Signing up must not tell whether an address is known either.
ACCOUNT_PREVENT_ENUMERATION = "strict"
# Of one length, which templates/429.html tells.
ACCOUNT_RATE_LIMITS = {
    "login": None,  # counted as `sign_in`, which spares known browsers
    "sign_in": "100/5m/ip",
    "login_failed": "30/5m/ip,10/5m/key",  # the key: a name and the network
    "known_browser": "10/5m/key",
    "signup": "50/5m/ip",
    "reset_password": "20/5m/ip,3/5m/key",
    "reset_password_from_key": "20/5m/ip",
    "change_password": "10/5m/user",
    "reauthenticate": "10/5m/user",
    "manage_email": "10/5m/user",
    "confirm_email": "1/1m/key",
    "setup_code": "20/5m/ip",
}

# The second factor: for anybody, and asked for before the admin's pages.
ADMIN_SECOND_FACTOR = env.switch("ADMIN_SECOND_FACTOR", default=bool(PUBLIC_URL))
ADMIN_SIGN_IN_WITHIN = 60 * env.number("ADMIN_SIGN_IN_WITHIN", 15, highest=1440)
MFA_ADAPTER = "accounts.second_factor.Adapter"
MFA_SUPPORTED_TYPES = ["totp", "webauthn", "recovery_codes"]
MFA_FORMS = {
    "authenticate": "accounts.forms.AuthenticateForm",
    "reauthenticate": "accounts.forms.ReauthenticateByCodeForm",
    "activate_totp": "accounts.forms.ActivateAppForm",
    "authenticate_webauthn": "accounts.passkey_forms.AuthenticateByPasskeyForm",
    "reauthenticate_webauthn": "accounts.passkey_forms.ReauthenticateByPasskeyForm",
    "add_webauthn": "accounts.passkey_forms.AddPasskeyForm",
    "edit_webauthn": "accounts.passkey_forms.RenamePasskeyForm",
}
MFA_TOTP_TOLERANCE = 1  # a clock may be wrong by half a minute (RFC 6238, 5.2)
# An address is optional, and proves nothing before it is confirmed.
MFA_ALLOW_UNVERIFIED_EMAIL = True

# Letters --------------------------------------------------------------------------

# On one's own machine they are printed where Rollcall runs. Elsewhere that is a
# journal, no place for links that sign people in: without a mail server, no letters.
SENDS_LETTERS = ON_LOOPBACK or bool(env.text("EMAIL_URL"))
vars().update(env.email("EMAIL_URL"))
if not ON_LOOPBACK and EMAIL_BACKEND.endswith(".console.EmailBackend"):  # noqa: F821
    if SENDS_LETTERS:
        raise ImproperlyConfigured(
            "EMAIL_URL prints letters, and the links in them, into the log: name a mail"
            " server, or leave EMAIL_URL out. Then no letters are sent."
        )
    EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
ACCOUNT_EMAIL_VERIFICATION = "optional" if SENDS_LETTERS else "none"
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = SERVER_EMAIL = env.text("DEFAULT_FROM_EMAIL", "rollcall@localhost")

# Pages ----------------------------------------------------------------------------

LANGUAGE_CODE = "en"
LANGUAGES = [("en", "English"), ("ru", "Русский")]
LOCALE_PATHS = [BASE_DIR / "locale"]
USE_TZ = True
TIME_ZONE = "UTC"
STATIC_URL = "/static/"
STATICFILES_DIRS = [BASE_DIR / "static"]
STATIC_ROOT = VAR_DIR / "static"
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "config.server.static.Storage"},
}
WHITENOISE_ALLOW_ALL_ORIGINS = False

# The log --------------------------------------------------------------------------

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "config.logging.OneLineFormatter",
            "format": "{asctime} {levelname} {name}: {message}",
            "style": "{",
        },
        "json": {"()": "config.logging.JSONFormatter"},
    },
    "filters": {
        "outage": {"()": "config.logging.OutageFilter"},
        "refusal": {"()": "config.logging.RefusalFilter"},
        "few": {"()": "config.logging.FewFilter", "most": 60},
    },
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": env.choice("LOG_FORMAT", "line", "json"),
        },
        # Strangers decide how many of these there are.
        "few": {
            "class": "logging.StreamHandler",
            "formatter": env.choice("LOG_FORMAT", "line", "json"),
            "filters": ["refusal", "few"],
        },
    },
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    "loggers": {
        "django": {"handlers": [], "level": "WARNING"},
        "django.request": {"level": "ERROR", "filters": ["outage"]},
        "django.security": {"handlers": ["few"], "propagate": False},
        "rollcall.security": {
            "handlers": ["few"],
            "level": "INFO",
            "propagate": False,
        },
        # While Redis is away it has a word to say every second; the relay says it once.
        "channels_redis": {"level": "CRITICAL"},
    },
}
