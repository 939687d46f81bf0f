# One image for the service and the workers: not root, nothing in it is written at run time.
FROM python:3.13-slim-trixie

ENV PYTHONUNBUFFERED=1
WORKDIR /app
COPY requirements.txt .
RUN pip install --no-cache-dir --disable-pip-version-check --require-hashes -r requirements.txt
COPY settings settings
COPY telemetry telemetry
COPY tasks tasks
COPY fetch fetch
COPY worker worker
COPY actors actors
COPY service service
RUN python -m compileall -q . \
 && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin md5light \
 && install --directory --owner=md5light --mode=0700 /data

# Without RabbitMQ and MongoDB the tasks are in /data: `docker run --volume md5-light:/data …`. No
# volume is declared, because each container that needs none would leave an anonymous one behind.
ENV HOST=0.0.0.0 DATA_DIR=/data
EXPOSE 8000
USER md5light
CMD ["python", "-m", "service"]
