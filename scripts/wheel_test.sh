#!/bin/sh
# Build the wheel, install it without the exact pins into an environment made for this, and ask it for a dose and for what
# it lists, away from the repository. Nothing is kept but the wheel, in dist/.
set -eu
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
ROOT=$(pwd -P)
PLACE=$(mktemp -d)
trap 'rm -rf "$PLACE"' EXIT INT TERM
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_USER=0

rm -rf dist
"$PYTHON" -m venv "$PLACE/builder"
"$PLACE/builder/bin/python" -I -m pip install --quiet build
"$PLACE/builder/bin/python" -I -m build --outdir dist >"$PLACE/build.log" 2>&1 || {
    cat "$PLACE/build.log" >&2
    exit 1
}

"$PYTHON" -m venv "$PLACE/fresh"
"$PLACE/fresh/bin/python" -I -m pip install --quiet dist/*.whl
cd "$PLACE"
export SUITE_CACHE="$PLACE/cache"
fresh/bin/suite --version
fresh/bin/suite list tasks >/dev/null
fresh/bin/suite policy list >/dev/null
fresh/bin/suite dose "$ROOT/results/embedded" --json >installed.json
fresh/bin/python -I - "$ROOT/results/embedded/doses.json" installed.json <<'CHECK'
import json
import sys

published, installed = (json.load(open(name, encoding="utf-8")) for name in sys.argv[1:])
parts = ("model", "method", "task", "metric", "tolerance", "scope", "kept_through", "lost_from")
told = [[tuple(one[part] for part in parts) for one in records] for records in (published, installed)]
print(f"{len(told[1])} doses, {sum(a == b for a, b in zip(*told))} as published")
sys.exit(len(told[1]) == 0 or told[0] != told[1])
CHECK
fresh/bin/python -I -m pip list 2>/dev/null | grep -iE '^(torch|transformers|llmcompressor|numpy|mapie|netcal) '
echo "wheel: $(cd "$ROOT" && ls dist)"
