# Two images of the same code: `cpu` for servers and workers without a GPU, `gpu` for those with one.
#   docker build --target cpu -t personaforge:cpu .

FROM python:3.11.14-slim-bookworm AS base
# libcurl4: FiftyOne's own MongoDB; curl: health checks; libglib2.0-0: OpenCV.
RUN apt-get update \
    && apt-get install -y --no-install-recommends curl libcurl4 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/* \
    && pip install --no-cache-dir "uv>=0.13,<0.14"
RUN useradd --create-home --uid 1000 persona && install -d -o persona -g persona /app /app/data /app/weights /app/prefect
WORKDIR /app
ENV PYTHONUNBUFFERED=1 UV_SYSTEM_PYTHON=1 UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 \
    DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false \
    # A forgotten PREFECT_API_URL must be an error and not a private SQLite database.
    PREFECT_SERVER_EPHEMERAL_ENABLED=false

FROM base AS cpu
COPY --chown=persona . .
# PyTorch without CUDA, from PyTorch's own index; everything else as the lock has it.
RUN uv pip install --torch-backend cpu --no-deps $(grep -oE '^torch(vision)?==[0-9.]+' requirements.txt) \
    && uv pip install -c requirements.txt -e ".[detect,train,browse,cluster,heic]"
USER persona

FROM base AS gpu
COPY --chown=persona . .
# PyTorch's wheels from the package index bring CUDA; the host needs its driver and the NVIDIA container toolkit.
RUN uv pip install -c requirements.txt -e ".[detect,train,browse,cluster,heic]"
USER persona
