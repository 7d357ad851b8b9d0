"""Weblate's settings here: those that it comes with, and what a site has to say."""

import os

from weblate.settings_example import *  # noqa: F403

SITE_DOMAIN = OTP_WEBAUTHN_RP_ID = "weblate.example.com"
OTP_WEBAUTHN_ALLOWED_ORIGINS = [f"https://{SITE_DOMAIN}"]
ENABLE_HTTPS = True
SECRET_KEY = os.environ["WEBLATE_SECRET_KEY"]
DATABASES["default"]["PASSWORD"] = os.environ["WEBLATE_DATABASE_PASSWORD"]  # noqa: F405
CACHES["default"]["OPTIONS"]["PASSWORD"] = os.environ["WEBLATE_CACHE_PASSWORD"]  # noqa: F405
CELERY_RESULT_BACKEND = f"redis://:{os.environ['WEBLATE_CACHE_PASSWORD']}@127.0.0.1:6379/2"
DATA_DIR = "/srv/weblate"
CACHE_DIR = f"{DATA_DIR}/cache"
MEDIA_ROOT = f"{DATA_DIR}/media"
STATIC_ROOT = f"{CACHE_DIR}/static"
CACHES["avatar"]["LOCATION"] = f"{CACHE_DIR}/avatar"  # noqa: F405
