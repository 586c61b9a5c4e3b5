# The production image: the gateway alone, with stores elsewhere (FAREBOX_DATABASE_URL, FAREBOX_REDIS_URL).
# Read-only but for /data, where news waits for the stores while they are away: give it a volume that outlives the container.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY sql sql
COPY config config
RUN python -m venv /opt/farebox && /opt/farebox/bin/pip install --no-cache-dir . \
  && find /opt/farebox -name tests -type d -prune -exec rm -rf {} +

FROM python:3.13-slim
RUN useradd --system --no-create-home --uid 10001 farebox && install -d -o farebox -g farebox -m 0700 /data
COPY --from=build /opt/farebox /opt/farebox
ENV PATH=/opt/farebox/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
  FAREBOX_HOST=0.0.0.0 FAREBOX_DATA_DIR=/data FAREBOX_LOG_FORMAT=json
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8080 8081
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python", "-c", \
  "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8081/healthz', timeout=2)"]
CMD ["farebox", "serve"]
