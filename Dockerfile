# The production image: the gateway alone, with stores elsewhere (FAREBOX_DATABASE_URL, FAREBOX_REDIS_URL).
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src src
COPY sql sql
COPY config config
RUN python -m venv /opt/farebox && /opt/farebox/bin/pip install --no-cache-dir .

FROM python:3.13-slim
RUN useradd --system --no-create-home farebox
COPY --from=build /opt/farebox /opt/farebox
ENV PATH=/opt/farebox/bin:$PATH FAREBOX_HOST=0.0.0.0 PYTHONUNBUFFERED=1
USER farebox
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python", "-c", \
  "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8081/healthz', timeout=2)"]
CMD ["farebox", "serve"]
