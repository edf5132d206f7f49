"""Django is set up once for the whole suite, before any module of tests imports a model."""

import os
import tempfile

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "imagerepo.settings")
os.environ.setdefault("IMAGEREPO_DATA_DIR", tempfile.mkdtemp(prefix="imagerepo-tests-"))

import django  # noqa: E402

django.setup()
