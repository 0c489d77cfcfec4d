# Three images from one file: `api` (no TensorFlow), `worker-cpu` and `worker-gpu`. docker-compose.yml builds them.

FROM python:3.12-slim AS python

FROM python AS tools
RUN pip install --no-cache-dir uv==0.13.8
ENV UV_CACHE_DIR=/var/cache/uv \
    UV_PYTHON_DOWNLOADS=never \
    UV_LINK_MODE=copy \
    UV_PROJECT_ENVIRONMENT=/app/.venv
WORKDIR /build

# The locked packages are layers of their own: they change with the lock, not with the code.
FROM tools AS api-packages
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/var/cache/uv \
    uv sync --frozen --no-dev --no-install-project --extra s3 --compile-bytecode

FROM tools AS cpu-packages
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/var/cache/uv \
    uv sync --frozen --no-dev --no-install-project --extra cpu --extra s3 --compile-bytecode

FROM tools AS gpu-packages
COPY pyproject.toml uv.lock ./
RUN --mount=type=cache,target=/var/cache/uv \
    uv sync --frozen --no-dev --no-install-project --extra gpu --extra s3 --compile-bytecode

# Trainyard itself, some 2 MB.
FROM tools AS project
COPY pyproject.toml README.md ./
COPY api ./api
COPY models ./models
COPY worker ./worker
COPY migrations ./migrations
COPY trainyard ./trainyard
RUN --mount=type=cache,target=/var/cache/uv \
    uv pip install --no-deps --compile-bytecode --python /usr/local/bin/python --target /app/project .

FROM python AS runtime
# A new named volume takes the owner of the folder that it is mounted on, hence the folders here.
RUN useradd --uid 10001 --create-home trainyard \
    && install -d -o trainyard -g trainyard /data /data/artifacts /data/datasets
ENV PATH=/app/.venv/bin:$PATH \
    PYTHONPATH=/app/project \
    PYTHONUNBUFFERED=1
USER trainyard
WORKDIR /data

FROM runtime AS api
# glibc gives back what large requests leave behind.
ENV MALLOC_ARENA_MAX=2 \
    MALLOC_MMAP_THRESHOLD_=262144 \
    MALLOC_TRIM_THRESHOLD_=262144
COPY --from=api-packages /app/.venv /app/.venv
COPY --from=project /app/project /app/project

FROM runtime AS worker-cpu
COPY --from=cpu-packages /app/.venv /app/.venv
COPY --from=project /app/project /app/project

FROM runtime AS worker-gpu
COPY --from=gpu-packages /app/.venv /app/.venv
COPY --from=project /app/project /app/project
