# Two images of the same code: `cpu` for servers and workers without a GPU, `gpu` for those with one.
#   docker build --target cpu -t personaforge:cpu .

FROM python:3.11.14-slim-bookworm AS base
# libcurl4: FiftyOne's own MongoDB; curl: health checks; libglib2.0-0: OpenCV.
RUN apt-get update \
    && apt-get install -y --no-install-recommends curl libcurl4 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 persona && install -d -o persona -g persona /app /app/data /app/weights
WORKDIR /app
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
    DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false \
    # A forgotten PREFECT_API_URL must be an error and not a private SQLite database.
    PREFECT_SERVER_EPHEMERAL_ENABLED=false

FROM base AS cpu
COPY --chown=persona . .
# The last line leaves the OpenCV build that needs no X11 libraries.
RUN pip install --extra-index-url https://download.pytorch.org/whl/cpu -c constraints.txt -e ".[browse,cluster]" \
    && pip install --force-reinstall --no-deps -c constraints.txt opencv-python-headless
USER persona

FROM base AS gpu
COPY --chown=persona . .
# PyTorch's wheels from PyPI bring CUDA; the host needs its driver and the NVIDIA container toolkit.
RUN pip install -c constraints.txt -e ".[browse,cluster]" \
    && pip install --force-reinstall --no-deps -c constraints.txt opencv-python-headless
USER persona
