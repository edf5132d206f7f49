"""Every route of the service."""

from django.urls import URLPattern, URLResolver

from imagerepo.api import (
    audit,
    browse,
    delivery,
    fixity,
    metrics,
    operations,
    problem_pages,
    purging,
    reconciling,
    session_images,
    sessions,
)

urlpatterns: list[URLPattern | URLResolver] = [
    *problem_pages.urlpatterns,
    *sessions.urlpatterns,
    *session_images.urlpatterns,
    *browse.urlpatterns,
    *delivery.urlpatterns,
    *operations.urlpatterns,
    *audit.urlpatterns,
    *fixity.urlpatterns,
    *metrics.urlpatterns,
    *purging.urlpatterns,
    *reconciling.urlpatterns,
]

handler400 = "imagerepo.api.handlers.bad_request"
handler403 = "imagerepo.api.handlers.permission_denied"
handler404 = "imagerepo.api.handlers.not_found"
handler500 = "imagerepo.api.handlers.server_error"
