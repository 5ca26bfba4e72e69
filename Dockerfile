# One exported model and the server that answers for it; scripts/build-image.py gathers the files and names the version.
FROM python:3.11-slim AS packages
COPY requirements-serving.txt requirements-model.txt /tmp/
# pip has done its work then, and nothing in the image should install anything.
RUN python -m venv /opt/serving \
    && /opt/serving/bin/pip install --no-cache-dir --disable-pip-version-check --progress-bar off \
        -r /tmp/requirements-serving.txt -r /tmp/requirements-model.txt \
    && /opt/serving/bin/pip uninstall --yes --quiet pip setuptools \
    && mkdir /predictions
COPY src/promotion /app/promotion
# Compiled now: at run time the file system is read-only.
RUN /opt/serving/bin/python -m compileall -q /app

FROM python:3.11-slim
# onnxruntime reports its use to its maker unless told otherwise.
ENV PATH=/opt/serving/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MODEL_DIR=/model \
    ORT_DISABLE_TELEMETRY=1
COPY --from=packages /opt/serving /opt/serving
# Belongs to the user below, so that a volume mounted here for PREDICTION_LOG does too.
COPY --from=packages --chown=10001:10001 /predictions /var/log/predictions
COPY --from=packages /app /app
COPY export /model
ARG IMAGE
ENV IMAGE=${IMAGE}
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["python", "-m", "promotion.serving.healthcheck"]
ENTRYPOINT ["python", "-m", "promotion.serving"]
