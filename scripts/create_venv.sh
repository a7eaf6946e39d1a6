#!/bin/sh
# Create a virtual environment with the first Python that is new enough.
# Usage: create_venv.sh DIRECTORY [PYTHON]
set -eu

directory=$1
candidates=${2:-python3 python3.14 python3.13 python3.12 python3.11 python}

is_new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

python=
for candidate in $candidates; do
    is_new_enough "$candidate" || continue
    python=${python:-$candidate}
    if "$candidate" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        exec "$candidate" -m venv --clear "$directory"
    fi
done

if [ -z "$python" ]; then
    echo "Python 3.11 or newer is needed, and none of these is: $candidates." >&2
    echo "Install one, or name it: make PYTHON=/path/to/python3" >&2
    exit 1
fi

# Debian and Ubuntu ship Python without ensurepip unless python3-venv is installed; others can fill in for it.
if command -v uv >/dev/null 2>&1; then
    exec uv venv --clear --seed --python "$python" "$directory"
elif "$python" -m virtualenv --version >/dev/null 2>&1; then
    exec "$python" -m virtualenv --clear "$directory"
elif "$python" -c 'import venv' >/dev/null 2>&1 && "$python" -m pip --version >/dev/null 2>&1; then
    "$python" -m venv --clear --without-pip "$directory"
    exec "$python" -m pip --python "$directory/bin/python" install 'pip>=25.1'
fi

version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
echo "$python cannot create virtual environments: it has neither ensurepip nor pip." >&2
echo "On Debian or Ubuntu: apt-get install python$version-venv" >&2
exit 1
