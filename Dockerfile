# One image for every role; what a container does is the argument of scripts/container.sh.
# What compiles stays in the first stage: the second has no compiler and no headers.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev libgmp-dev \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/swarm-node
ENV PATH=/opt/swarm-node/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /source
# The pins change seldom, so these layers are reused while the code changes.
COPY requirements requirements
RUN pip install -r requirements/build.txt \
    && pip install --no-build-isolation -r requirements/base.txt -r requirements/train.txt
# Without CUDA where that index answers; the default index may bring 3 GB of it.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-deps --retries 1 --timeout 10 --index-url "${TORCH_INDEX}" -r requirements/torch.txt \
    || pip install -r requirements/torch.txt
COPY . .
RUN pip install --no-deps --no-build-isolation . && pip check

FROM ${BASE}
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgmp10 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --user-group --create-home --shell /usr/sbin/nologin swarm \
    && install -d -o swarm -g swarm -m 0700 /var/lib/swarm-node \
    && install -d -o swarm -g swarm -m 0755 /run/swarm-node
COPY --from=build /opt/swarm-node /opt/swarm-node
COPY scripts/container.sh /usr/local/bin/swarm-container
# bubblewrap does not run under Docker's default seccomp profile; Landlock does.
ENV PATH=/opt/swarm-node/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    SWARM_HOME=/var/lib/swarm-node \
    SWARM_SANDBOX=landlock
USER swarm
EXPOSE 4001
ENTRYPOINT ["/bin/sh", "/usr/local/bin/swarm-container"]
CMD ["agent"]
