# syntax=docker/dockerfile:1

# The oldest Python the project supports, and the one the lock files are made for; security fixes
# until October 2027. Debian 13 has them until August 2028. For amd64 and arm64:
#   docker buildx build --platform linux/amd64,linux/arm64 .
ARG PYTHON=python:3.11-slim-trixie
# The database's own image, for the pg_dump of zdk backup: a later one makes what the server cannot
# restore. For a PostgreSQL of another version: --build-arg POSTGRES=postgres:18-bookworm
ARG POSTGRES=postgres:16.14-bookworm

FROM ${POSTGRES} AS postgres

FROM ${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build

# The dependencies come first: they change less often than the code, and so stay cached. The
# environment has no pip of its own, because all of it goes into the final image.
COPY requirements-worker.lock ./
RUN python -m venv --without-pip /opt/zdk \
    && pip --python /opt/zdk/bin/python install \
        --require-hashes --only-binary :all: --requirement requirements-worker.lock

COPY pyproject.toml README.md LICENSE ./
COPY api_client ./api_client
COPY worker ./worker
COPY migrations ./migrations
RUN pip wheel --no-deps --wheel-dir /wheels . \
    && pip --python /opt/zdk/bin/python install --no-deps --no-index /wheels/*.whl \
    && pip --python /opt/zdk/bin/python check


FROM ${PYTHON}
# What pg_dump is linked with.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libpq5 liblz4-1 libzstd1 zlib1g \
    && rm -rf /var/lib/apt/lists/*
COPY --from=postgres /usr/lib/postgresql/*/bin/pg_dump /usr/lib/postgresql/*/bin/pg_restore /usr/local/bin/
# Here rather than at the first backup: whether both find what they need.
RUN pg_dump --version && pg_restore --version
# The ids are fixed, so that a volume's files keep their owner from one image to the next.
RUN groupadd --gid 10001 zdk \
    && useradd --uid 10001 --gid 10001 --no-log-init --no-create-home --home-dir /nonexistent \
        --shell /usr/sbin/nologin zdk \
    && install --directory --owner 10001 --group 10001 --mode 0750 /data /data/artifacts /backups
COPY --from=build /opt/zdk /opt/zdk
ENV PATH=/opt/zdk/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    ZDK_ARTIFACTS_URL=file:///data/artifacts
USER 10001:10001
WORKDIR /data
STOPSIGNAL SIGTERM
ENTRYPOINT ["zdk"]
CMD ["worker"]
