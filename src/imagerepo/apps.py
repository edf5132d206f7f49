"""The one Django app."""

from django.apps import AppConfig


class ImagerepoConfig(AppConfig):
    """`imagerepo`, with the models of the catalogue and of the sessions."""

    name = "imagerepo"
    label = "imagerepo"
    default_auto_field = "django.db.models.BigAutoField"

    def import_models(self) -> None:
        super().import_models()
        import imagerepo.catalogue.models
        import imagerepo.sessions.models  # noqa: F401
