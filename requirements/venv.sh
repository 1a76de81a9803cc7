#!/bin/sh
# Makes the virtual environment DIRECTORY with the first Python that is new enough: venv.sh DIRECTORY [PYTHON]
set -eu
here=$(dirname "$0")
directory=$1

new_enough() {
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

find_python() {
    for name in ${1:-python3.14 python3.13 python3.12 python3.11 python3}; do
        if new_enough "$name"; then
            echo "$name"
            return
        fi
    done
}

python=$(find_python "${2:-}")
if [ -z "$python" ] && [ -z "${2:-}" ]; then
    "$here/debian.sh" "a python3 that is new enough=python3"
    python=$(find_python "")
fi
if [ -z "$python" ]; then
    echo "palaver: needs Python 3.11 or newer (PYTHON=/path/to/python3 names one)" >&2
    exit 1
fi
# Debian's Python can't make environments before this package is there
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    "$here/debian.sh" "ensurepip of python$version=python$version-venv"
fi
# Half an environment would be taken for a whole one the next time
"$python" -m venv --clear "$directory" || {
    rm -rf "$directory"
    exit 1
}
