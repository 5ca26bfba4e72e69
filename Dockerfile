# One exported model and the server that answers for it; scripts/build-image.py gathers the files and names the version.
# May carry a digest: scripts/build-image.py --base NAME@sha256:DIGEST.
ARG BASE=python:3.11-slim
FROM ${BASE} AS packages
COPY requirements-sbom.txt /tmp/
RUN python -m venv /opt/sbom \
    && /opt/sbom/bin/pip install --no-cache-dir --disable-pip-version-check --progress-bar off \
        --require-hashes -r /tmp/requirements-sbom.txt
COPY requirements-serving.txt requirements-model.txt /tmp/
# pip has done its work then, and nothing in the image should install anything.
RUN python -m venv /opt/serving \
    && /opt/serving/bin/pip install --no-cache-dir --disable-pip-version-check --progress-bar off \
        --require-hashes -r /tmp/requirements-serving.txt \
    && /opt/serving/bin/pip install --no-cache-dir --disable-pip-version-check --progress-bar off \
        -r /tmp/requirements-model.txt \
    && /opt/serving/bin/pip uninstall --yes --quiet pip setuptools \
    && mkdir /predictions
COPY src/promotion/containers/image_root.py /tmp/
# Python, the packages and the libraries they load under an empty root, compiled: at run time nothing can be written.
RUN /opt/sbom/bin/cyclonedx-py environment --output-reproducible --output-format JSON \
        --output-file /tmp/sbom.cdx.json /opt/serving/bin/python \
    && mkdir /image \
    && python /tmp/image_root.py /opt/serving /image /tmp/sbom.cdx.json \
    && python -m compileall -q -s /image --invalidation-mode unchecked-hash /image
COPY src/promotion /app/promotion
RUN python -m compileall -q --invalidation-mode unchecked-hash /app

FROM scratch
# onnxruntime reports its use to its maker unless told otherwise.
ENV PATH=/opt/serving/bin \
    LANG=C.UTF-8 \
    PYTHONPATH=/app \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    MODEL_DIR=/model \
    ORT_DISABLE_TELEMETRY=1
COPY --from=packages /image /
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
