# The service alone. Its disk is ephemeral: name a store that outlives it.
#
#   docker build --tag imagerepo .
#   docker run --publish 8000:8000 --env IMAGEREPO_STORE_URL=swift://images \
#       --env ST_AUTH=... --env ST_USER=... --env ST_KEY=... --env IMAGEREPO_ADMIN_TOKEN=... imagerepo

FROM python:3.11-slim-bookworm AS build
WORKDIR /build
RUN python -m venv /opt/imagerepo
COPY requirements-service.txt ./
RUN /opt/imagerepo/bin/pip install --no-cache-dir --require-hashes --requirement requirements-service.txt
COPY pyproject.toml README.md ./
COPY src ./src
COPY migrations ./migrations
RUN /opt/imagerepo/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
    && /opt/imagerepo/bin/pip uninstall --yes setuptools pip

FROM python:3.11-slim-bookworm
RUN useradd --system --uid 10001 --home-dir /data imagerepo \
    && install --directory --owner imagerepo --mode 0700 /data
COPY --from=build /opt/imagerepo /opt/imagerepo
ENV PATH=/opt/imagerepo/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    IMAGEREPO_DATA_DIR=/data \
    IMAGEREPO_REQUIRE_STORE_URL=true
USER imagerepo
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/livez', timeout=4)"]
# Exec form: the server is process 1, and SIGTERM reaches it.
ENTRYPOINT ["imagerepo", "serve", "--host", "0.0.0.0", "--port", "8000"]
