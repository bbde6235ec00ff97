# syntax=docker/dockerfile:1
# Build: docker build -t webhook-router .      Run: see docker-compose.yml

# Where images are kept by their digest: --build-arg BASE=python:3.11-slim-bookworm@sha256:…
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
# otel.txt: with OpenTelemetry, for tracing.
ARG LOCK=base.txt
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/build && python -m venv /opt/webhook-router
COPY requirements/ requirements/
RUN /opt/build/bin/pip install --only-binary :all: --require-hashes -r requirements/build.txt
RUN /opt/webhook-router/bin/pip install --only-binary :all: --require-hashes -r requirements/${LOCK}
COPY pyproject.toml README.md LICENSE ./
COPY router/ router/
RUN /opt/build/bin/python -m hatchling build --target wheel --directory /wheels
RUN /opt/webhook-router/bin/pip install --no-index --no-deps /wheels/*.whl

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="webhook-router" \
      org.opencontainers.image.description="Consumes telephony events from RabbitMQ and delivers webhooks over HTTP" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

COPY --from=build /opt/webhook-router /opt/webhook-router
# Loopback is the default of the settings; in a container it would reach nobody. Secrets are files there, as
# webhook-router_amqp.url (docs/deployment.md).
ENV PATH=/opt/webhook-router/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    CREDENTIALS_DIRECTORY=/run/secrets \
    ROUTER_API__HOST=0.0.0.0 \
    ROUTER_DATA_DIR=/tmp/webhook-router

# A number, so that an orchestrator can see that it is not root. Nothing outside /tmp is written.
USER 10001:10001
WORKDIR /opt/webhook-router
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=5s --start-period=40s --retries=3 CMD ["webhook-router", "healthcheck"]
ENTRYPOINT ["webhook-router"]
CMD ["serve"]
