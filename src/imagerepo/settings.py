"""Django's settings, derived from `Config`; nothing here is meant to be edited by a user."""

from __future__ import annotations

import secrets

from imagerepo.config import get_config

_config = get_config()

DEBUG = False
SECRET_KEY = secrets.token_urlsafe(32)  # signs nothing that outlives the process: no cookies, no forms
ALLOWED_HOSTS = ["*"]
INSTALLED_APPS = ["imagerepo.apps.ImagerepoConfig"]
ROOT_URLCONF = "imagerepo.urls"
WSGI_APPLICATION = "imagerepo.wsgi.application"
MIDDLEWARE: list[str] = []
APPEND_SLASH = False
USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = False

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": str(_config.data_dir.absolute() / "catalogue.sqlite3"),
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": 30,
            # Every connection, or the log is checkpointed behind the snapshots' back.
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; "
            "PRAGMA wal_autocheckpoint=0; PRAGMA foreign_keys=ON; "
            # What is deleted must not stay in the pages of the snapshots to come.
            "PRAGMA secure_delete=ON",
        },
    }
}

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["imagerepo.api.auth.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["imagerepo.api.auth.MayBrowse"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [],  # bodies are read by api/parsing.py, after a request is known to be allowed
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "imagerepo.api.negotiation.AnyAccept",
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "imagerepo.api.handlers.handle",
    "UNAUTHENTICATED_USER": None,
    "UNAUTHENTICATED_TOKEN": None,
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(process)d %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": "WARNING"},
    # Answers of 4xx are no news to an operator; those of 5xx are, with their traceback.
    "loggers": {"django": {"handlers": [], "propagate": True}, "django.request": {"level": "ERROR"}},
}
