"""The WSGI application that every worker serves."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "imagerepo.settings")
application = get_wsgi_application()
