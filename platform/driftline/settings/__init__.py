"""Django's settings, built from the environment alone.

Input: the variables that `environment.py` describes, each with a default and one line of help, and the keys of the
home.
Output: the settings of Django and of Driftline; a wrong value stops the start with a clear message.

Start with `environment.py`.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.utils.csp import CSP

from driftline.base.extras import NATS, OTLP, describe_missing, is_installed
from driftline.base.keys.home_keys import key_of_home
from driftline.base.keys.key_files import read_keys
from driftline.base.keys.secret_keys import stamp_of
from driftline.features import CORE
from driftline.features import FEATURES as ALL
from driftline.operations.services.urls import embedded_broker_url, embedded_database_settings
from driftline.settings import environment as env
from driftline.settings.home_folder import protect_home
from driftline.sign_in.single_sign_on.configuration import read_sign_in

HOME = env.HOME.read()
ALL_FEATURES = [*CORE, *ALL.values()]
FEATURES = [*CORE, *env.CHOSEN_FEATURES.read()]
LISTEN_HOST = env.LISTEN_HOST.read()
protect_home(HOME)
PORT = env.PORT.read()
GRPC_PORT = env.GRPC_PORT.read()
DEBUG = env.DEBUG.read()
SECRET_KEY = env.SECRET_KEY.read()
NAMED_SECRET_KEY_FALLBACKS = SECRET_KEY_FALLBACKS = env.SECRET_KEY_FALLBACKS.read()
SECRET_KEY_FILE = None if SECRET_KEY else HOME / "keys" / "secret_key"
SECRET_KEY_STAMP: tuple[int, int] | None = None  # of the file as it was read: see base/keys/secret_keys.py
if SECRET_KEY_FILE is not None:
    key_of_home(HOME, "secret_key")
    SECRET_KEY_STAMP = stamp_of(SECRET_KEY_FILE)
    SECRET_KEY, *_older = read_keys(SECRET_KEY_FILE)
    SECRET_KEY_FALLBACKS = [*_older, *NAMED_SECRET_KEY_FALLBACKS]
HASH_KEY = key_of_home(HOME, "hash_key").encode()  # of what is kept as a keyed hash only: it is not changed
ALLOWED_HOSTS = env.ALLOWED_HOSTS.read()
TLS_CERTIFICATE = env.TLS_CERTIFICATE.read()
TLS_KEY = env.TLS_KEY.read()
TLS_CLIENT_CA = env.TLS_CLIENT_CA.read()
PUBLIC_URL = (env.PUBLIC_URL.read() or f"{'https' if TLS_CERTIFICATE else 'http'}://127.0.0.1:{PORT}").rstrip(
    "/"
)
key_of_home(
    HOME, "endpoint_key"
)  # made for serving processes, which read the file: seals credentials that serving processes open
EDGE_KEY_FILE = HOME / "keys" / "edge_key"  # signs what devices and hosts pull: see base/keys/edge_keys.py
key_of_home(HOME, "edge_key")
BEHIND_TLS = env.BEHIND_TLS.read()
REACHED_BY_TLS = BEHIND_TLS or TLS_CERTIFICATE is not None
TRUSTED_PROXIES = env.TRUSTED_PROXIES.read() or (["127.0.0.0/8", "::1/128"] if BEHIND_TLS else [])

# -- services ----------------------------------------------------------------------------------------------------------
DATABASE_URL = env.DATABASE_URL.read()
BROKER_URL = env.BROKER_URL.read()
WAL_ARCHIVE = env.WAL_ARCHIVE.read()


REPLICA_URL = env.REPLICA_URL.read()
_PATIENCE = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


def _database(url: str) -> dict[str, Any]:
    parts = urlsplit(url)
    return {
        "ENGINE": "driftline.base.database",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": unquote(parts.hostname or ""),
        "PORT": str(parts.port or ""),
        "OPTIONS": dict(parse_qsl(parts.query)),  # of libpq, such as sslmode and sslrootcert
    }


DATABASES = {"default": _database(DATABASE_URL) if DATABASE_URL else embedded_database_settings(HOME)}
if REPLICA_URL:
    DATABASES["replica"] = _database(REPLICA_URL)
for _settings in DATABASES.values():
    _settings |= {
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": _PATIENCE | _settings.get("OPTIONS", {}),
    }
DATABASE_ROUTERS = ["driftline.base.database.replica.ReplicaRouter"] if REPLICA_URL else []
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

CELERY_BROKER_URL = BROKER_URL or embedded_broker_url(HOME)
CACHES = {"default": {"BACKEND": "driftline.sign_in.shared_cache.SharedCache"}}

# -- Django ------------------------------------------------------------------------------------------------------------
INSTALLED_APPS = [
    "driftline.base.accounts",
    "inference",
    "monitors",
    "driftline.operations",
    "driftline.web",
    "driftline",
    "unfold",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_htmx",
    "allauth",
    "allauth.account",
    "allauth.mfa",
    "allauth.socialaccount",
    "allauth.socialaccount.providers.openid_connect",
    "allauth.socialaccount.providers.saml",
    "allauth.usersessions",
]
MIDDLEWARE = [
    "driftline.web.middleware.permissions_policy.PermissionsPolicy",
    "django.middleware.security.SecurityMiddleware",
    "driftline.web.middleware.static_files.StaticFiles",
    "driftline.web.middleware.cache_control.NoStore",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "driftline.web.middleware.admin_policy.AdminPolicy",
    "driftline.operations.observability.requests.RequestIdMiddleware",
    "driftline.base.accounts.audit.origin.OriginMiddleware",
    "driftline.api.front.hops.RefuseHops",
    "driftline.base.database.replica.ReadFromReplica",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "driftline.base.http.identity.NotePerson",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "driftline.web.pages.account.display.WriteTimesInZone",
    "allauth.account.middleware.AccountMiddleware",
    "driftline.sign_in.middleware.RememberBrowser",
    "driftline.sign_in.middleware.RequireMfa",
    "driftline.base.accounts.access.project_prefix.ProjectPrefix",
]
ROOT_URLCONF = "driftline.urls"
ASGI_APPLICATION = "driftline.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [env.CHECKOUT / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "driftline.web.pages.context.frame",
            ],
            "builtins": [
                "driftline.web.pages.templatetags.figures",
                "driftline.web.pages.templatetags.run_facts",
                "driftline.web.pages.templatetags.sign_in",
            ],
        },
    }
]
STATIC_URL = "/static/"
STATICFILES_DIRS = [
    env.CHECKOUT / "templates" / "static",
    *(
        ("plotly", Path(spec.origin).parent / "package_data")
        for spec in [find_spec("plotly")]
        if spec and spec.origin
    ),
]
WHITENOISE_USE_FINDERS = (
    True  # no collectstatic step and no STATIC_ROOT: finders' files are indexed at the start
)
HAS_PAGES = find_spec("allauth") is not None
if not HAS_PAGES:  # a serving host with the packages of requirements-serving.txt
    INSTALLED_APPS = [
        "driftline.base.accounts",
        "inference",
        "monitors",
        "driftline.operations",
        "driftline",
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
    ]
    MIDDLEWARE, TEMPLATES, ROOT_URLCONF = [], [], ""
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-gb"
FORMAT_MODULE_PATH = "driftline.base.formats"

# -- people ------------------------------------------------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    *(["allauth.account.auth_backends.AuthenticationBackend"] if HAS_PAGES else ()),
]
PASSWORD_HASHERS = [
    "driftline.sign_in.hashers.BoundedArgon2",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",  # verifies older ones, which the next sign-in hashes anew
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator", "OPTIONS": {"min_length": 12}},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
ACCOUNT_ADAPTER = "driftline.sign_in.adapter.AccountAdapter"
ACCOUNT_EMAIL_VERIFICATION = "none"
ACCOUNT_EMAIL_UNKNOWN_ACCOUNTS = False
ACCOUNT_EMAIL_SUBJECT_PREFIX = "[Driftline] "
ACCOUNT_FORMS = {"reset_password": "driftline.sign_in.password_reset.RequestResetForm"}
ACCOUNT_RATE_LIMITS = {
    "login": None,  # by address alone, so that one stranger closes the door for a whole office; failures are counted
    "login_failed": "10/m/ip,60/h/ip,10/15m/key",
    "login_failed_known_browser": "10/15m/key",
    "reset_password": "10/m/ip,5/15m/key",
}
SIGN_IN = read_sign_in(env.SIGN_IN_FILE.read())
SOCIALACCOUNT_ADAPTER = "driftline.sign_in.single_sign_on.adapter.SingleSignOnAdapter"
SOCIALACCOUNT_PROVIDERS = {
    "openid_connect": {"provider_class": "driftline.sign_in.single_sign_on.provider.Provider"},
    "saml": {"provider_class": "driftline.sign_in.single_sign_on.saml.provider.SamlProvider"},
}
SOCIALACCOUNT_LOGIN_ON_GET = (
    True  # a link leads to the provider: `form-action` of the policy lets no form do so
)
USERSESSIONS_ADAPTER = "driftline.sign_in.adapter.SessionsAdapter"
MFA_ADAPTER = "driftline.sign_in.adapter.MfaAdapter"
MFA_ALLOW_UNVERIFIED_EMAIL = (
    True  # nobody signs up with another person's address: an admin makes the accounts
)
MFA_TOTP_ISSUER = "Driftline"
MFA_SUPPORTED_TYPES = [
    "totp",
    "webauthn",
    "recovery_codes",
]  # a passkey is a second factor, beside the password
REQUIRE_MFA = env.REQUIRE_MFA.read() or ("staff" if REACHED_BY_TLS else "none")
LOGIN_URL = "/accounts/login/"  # no route's name, which would lie below the prefix of a project
LOGIN_REDIRECT_URL = "/"

# -- security ----------------------------------------------------------------------------------------------------------
SECURE_CSP = {
    "default-src": [CSP.SELF],
    "img-src": [CSP.SELF, "data:", "blob:"],  # a chart is kept as a picture by way of a blob
    # Plotly adds style elements: one is empty, and filled by script, which needs no leave; two are of its maps.
    "style-src": [
        CSP.SELF,
        "'sha256-47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU='",
        "'sha256-gG0b4ixT/IQUp7JJLbyKcpYcYDjq2Wp8NGv3f+aasqo='",
        "'sha256-vCpS8VyHtSqXbN/JkDhke+jauUq+p7lBAVCL+C75wZo='",
    ],
    "object-src": [CSP.NONE],
    "base-uri": [CSP.NONE],
    "form-action": [CSP.SELF],
    "frame-ancestors": [CSP.NONE],
}
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = REACHED_BY_TLS
SESSION_COOKIE_HTTPONLY = True
SECURE_SSL_REDIRECT = REACHED_BY_TLS
SECURE_HSTS_SECONDS = 31_536_000 if REACHED_BY_TLS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = REACHED_BY_TLS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if BEHIND_TLS else None
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$", r"^ping$", r"^metrics(/models)?$"]
CSRF_TRUSTED_ORIGINS = [PUBLIC_URL]
DATA_UPLOAD_MAX_MEMORY_SIZE = 64 << 20

# -- outbound ----------------------------------------------------------------------------------------------------------
OUTBOUND_ALLOW = env.OUTBOUND_ALLOW.read()
SOURCE_FOLDERS = env.SOURCE_FOLDERS.read()
LAKE_FOLDERS = env.LAKE_FOLDERS.read()
HUGGING_FACE_URL = env.HUGGING_FACE_URL.read()
EMAIL_URL = env.EMAIL_URL.read()
DEFAULT_FROM_EMAIL = env.EMAIL_FROM.read()
if EMAIL_URL:
    _mail = urlsplit(EMAIL_URL)
    EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    EMAIL_HOST = _mail.hostname or "localhost"
    EMAIL_PORT = _mail.port or {"smtp": 25, "smtp+starttls": 587, "smtps": 465}[_mail.scheme]
    EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = unquote(_mail.username or ""), unquote(_mail.password or "")
    EMAIL_USE_SSL, EMAIL_USE_TLS = _mail.scheme == "smtps", _mail.scheme == "smtp+starttls"
    EMAIL_TIMEOUT = 15
else:
    EMAIL_BACKEND = "django.core.mail.backends.filebased.EmailBackend"
    EMAIL_FILE_PATH = str(HOME / "mail")

# -- serving and workers -----------------------------------------------------------------------------------------------
SPOOL_FSYNC = env.SPOOL_FSYNC.read()
SPOOL_SYNC_MS = env.SPOOL_SYNC_MS.read()
HOST_TOKEN = env.HOST_TOKEN.read()
HOST_CA = env.HOST_CA.read()
SPOOL_MAX_BYTES = env.SPOOL_MAX_BYTES.read()
SERVING_MEMORY_BYTES = env.SERVING_MEMORY_BYTES.read()
ENCRYPT_LOG = env.ENCRYPT_LOG.read()
if ENCRYPT_LOG:
    key_of_home(HOME, "log_key")  # serving processes read it from there, and `rotate_key log_key` changes it
JOB_DEADLINE_SECONDS = env.JOB_DEADLINE_SECONDS.read()
JOB_KEEP_SECONDS = env.JOB_KEEP_SECONDS.read()
JOB_MAX_BYTES = env.JOB_MAX_BYTES.read()
ISOLATED_MEMORY_BYTES = env.ISOLATED_MEMORY_BYTES.read()
LOG_ROWS_PER_SECOND = env.LOG_ROWS_PER_SECOND.read()
DEDUPE_DAYS = env.DEDUPE_DAYS.read()
RETENTION_DAYS = env.RETENTION_DAYS.read()
HOURLY_SUMMARY_DAYS = env.HOURLY_SUMMARY_DAYS.read()
DAILY_SUMMARY_DAYS = env.DAILY_SUMMARY_DAYS.read()
SUMMARY_RETENTION_DAYS = env.SUMMARY_RETENTION_DAYS.read()
REPORT_RETENTION_DAYS = env.REPORT_RETENTION_DAYS.read()
WEB_WORKERS = env.WEB_WORKERS.read()
WEB_THREADS = env.WEB_THREADS.read()
LOG_THREADS = env.LOG_THREADS.read()
TASK_WORKERS = env.TASK_WORKERS.read()
TRAINERS = env.TRAINERS.read()
SNAPSHOT_STORE = env.SNAPSHOT_STORE.read()
OTLP_ENDPOINT = env.OTLP_ENDPOINT.read()
TRACE_RATIO = env.TRACE_RATIO.read()
AUDIT_SYSLOG = env.AUDIT_SYSLOG.read()
AUDIT_OTLP = env.AUDIT_OTLP.read()
AUDIT_OTLP_HEADERS_FILE = env.AUDIT_OTLP_HEADERS_FILE.read()
AUDIT_EXPORT_CA = env.AUDIT_EXPORT_CA.read()
AUDIT_EXPORT_CERTIFICATE = env.AUDIT_EXPORT_CERTIFICATE.read()
DEVICE_NATS = env.DEVICE_NATS.read()
DEVICE_NATS_USER = env.DEVICE_NATS_USER.read()
DEVICE_NATS_PASSWORD_FILE = env.DEVICE_NATS_PASSWORD_FILE.read()
DEVICE_NATS_CA = env.DEVICE_NATS_CA.read()
for _setting, _extra in ((env.OTLP_ENDPOINT, OTLP), (env.DEVICE_NATS, NATS)):
    if _setting.read() and not is_installed(_extra):
        raise ImproperlyConfigured(f"{_setting.name} is set. {describe_missing(_extra)}")
METRIC_ALIASES = env.METRIC_ALIASES.read()
LOG_MAX_BYTES = env.LOG_MAX_BYTES.read()

UNFOLD = {
    "SITE_TITLE": "Driftline admin",
    "SITE_HEADER": "Driftline",
    "SITE_ICON": lambda request: static("driftline.svg"),
    "STYLES": [lambda request: static("admin.css")],
    "SITE_FAVICONS": [
        {"rel": "icon", "type": "image/svg+xml", "href": lambda request: static("driftline.svg")}
    ],
    "SIDEBAR": {"show_search": True, "navigation": "driftline.web.admin.sections.navigation"},
    "DASHBOARD_CALLBACK": "driftline.web.admin.home.dashboard",
    "COLORS": {  # the blues of templates/static/driftline.css
        "primary": {
            "50": "#edf4f9",
            "100": "#dbeaf4",
            "200": "#cfe1f2",
            "300": "#9dbcd4",
            "400": "#4aa3df",
            "500": "#0072b2",
            "600": "#0072b2",
            "700": "#005a8d",
            "800": "#1b3245",
            "900": "#0b2545",
            "950": "#081526",
        }
    },
}
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "INFO"},
}
