# syntax=docker/dockerfile:1
# The coordinator: control plane, Fleet proxy and SuperLink. Build it from the repository's root:
#   docker build --file deploy/containers/coordinator.Dockerfile --tag intertwine-coordinator .
ARG PYTHON=3.11-slim-bookworm

FROM python:${PYTHON} AS build
# A pip index to ask besides the default one, such as PyTorch's own, whose CPU wheels are far smaller.
# Give no address with a password in it: it would stay in the image's history.
ARG PIP_EXTRA_INDEX_URL=""
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/* \
    && python -m venv --without-pip /opt/intertwine
WORKDIR /src
COPY . .
RUN pip wheel --no-cache-dir --no-deps --constraint deploy/constraints.txt --wheel-dir /wheels . \
    && wheel=$(echo /wheels/intertwine-*.whl) \
    && pip --python /opt/intertwine/bin/python install --no-cache-dir --constraint deploy/constraints.txt "${wheel}[postgresql]"

FROM python:${PYTHON}
LABEL org.opencontainers.image.title="intertwine coordinator" \
      org.opencontainers.image.description="Runs a federation: enrols participants, drives rounds, verifies proofs, keeps the log" \
      org.opencontainers.image.licenses="Apache-2.0"
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 intertwine \
    && useradd --uid 10001 --gid 10001 --home-dir /var/lib/intertwine --no-create-home --shell /usr/sbin/nologin intertwine \
    && install --directory --mode 0700 --owner 10001 --group 10001 /var/lib/intertwine
COPY --from=build /opt/intertwine /opt/intertwine
# All state lies in the user's home, which is a volume; nothing else is written but /tmp.
ENV HOME=/var/lib/intertwine \
    PATH=/opt/intertwine/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/intertwine
EXPOSE 8443 9092
HEALTHCHECK --interval=30s --timeout=10s --start-period=90s CMD ["python", "-c", "import ssl, urllib.request; \
urllib.request.urlopen('https://127.0.0.1:8443/readyz', timeout=5, context=ssl.create_default_context(\
cafile='/var/lib/intertwine/.intertwine/coordinator/ca.crt'))"]
ENTRYPOINT ["tini", "--", "intertwine"]
CMD ["coordinator", "up", "--log-format", "json"]
