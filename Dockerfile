# syntax=docker/dockerfile:1
# Build stage: Rust and Python. The wheel is abi3, so any Python >= 3.11 takes it.
FROM rust:1-slim-bookworm AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY requirements/build.txt /tmp/build.txt
RUN python3 -m venv /tools && /tools/bin/pip install --no-cache-dir --require-hashes -r /tmp/build.txt
COPY Cargo.toml Cargo.lock pyproject.toml README.md LICENSE ./
COPY rust rust
# Named by a manifest, so cargo wants to see it.
COPY benches/rust benches/rust
COPY python python
RUN /tools/bin/maturin build --release --locked --out /wheels

# What runs: a slim Python, the locked packages, the wheel, and a user without rights.
FROM python:3.13-slim-bookworm
COPY requirements/run.txt /tmp/run.txt
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-deps --require-hashes -r /tmp/run.txt \
    && pip install --no-cache-dir --no-deps /wheels/*.whl \
    && rm /tmp/run.txt \
    && useradd --uid 10001 --user-group --no-create-home --shell /usr/sbin/nologin nemo \
    && install -d -m 0700 -o nemo -g nemo /data /secrets
USER 10001:10001
# /secrets: for what several hosts share; see compose.yaml. The journal must lie on a real volume. /dev/shm of a container is small: the key table then lies here too.
VOLUME /data
ENV NEMOROUTER_HOST=0.0.0.0 \
    NEMOROUTER_PORT=8000 \
    NEMOROUTER_DATA_DIR=/data \
    PYTHONUNBUFFERED=1
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=15s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ['NEMOROUTER_PORT']}/healthz\", timeout=2)"]
ENTRYPOINT ["nemorouter"]
CMD ["serve"]
