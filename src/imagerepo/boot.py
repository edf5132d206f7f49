"""Getting a process ready for Django. Whatever imports a model is imported after this."""

from __future__ import annotations

import os

import django
from django.apps import apps

from imagerepo.config import Config, get_config


def boot() -> Config:
    """Check the settings, then set Django up by them. Raises ConfigError."""
    config = get_config()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "imagerepo.settings")
    if not apps.ready:
        django.setup()
    return config
