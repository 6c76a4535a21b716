# syntax=docker/dockerfile:1
# The agent: takes part in rounds, or serves predictions. Build it from the repository's root:
#   docker build --file deploy/containers/agent.Dockerfile --tag intertwine-agent .
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
    && pip --python /opt/intertwine/bin/python install --no-cache-dir --constraint deploy/constraints.txt "${wheel}[agent]"

FROM python:${PYTHON}
LABEL org.opencontainers.image.title="intertwine agent" \
      org.opencontainers.image.description="Takes part in a federation with its own records, and serves the models that come of it" \
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
EXPOSE 8600
HEALTHCHECK --interval=5m --timeout=60s --start-period=60s CMD ["intertwine", "agent", "doctor", "--json"]
ENTRYPOINT ["tini", "--", "intertwine"]
CMD ["agent", "run", "--log-format", "json"]
