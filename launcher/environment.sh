# Finds this clone's environment and says whether it is current; sourced by ./mastery and ./test with `here` set.
#
# This is the hot path of every start: it forks a handful of `cmp` and nothing else. All work is in prepare.py.

choose_environment() {
    if [ -n "${MASTERY_HOME:-}" ]; then
        data=$MASTERY_HOME
    elif [ -w "$here" ] && { [ -w "$here/.venv/launcher" ] || [ ! -e "$here/.venv" ]; }; then
        # A .venv without our stamp was made for something else, one that cannot be written by another user: both stay as they are.
        environment=$here/.venv
        return
    else
        data=${XDG_DATA_HOME:-${HOME:-}/.local/share}/mastery
    fi
    # An environment names its own place; a relative one would move with the working folder.
    case $data in
        /*) ;;
        *) data=$PWD/$data ;;
    esac
    # Two clones of one user must not share an environment: it names the sources that it runs.
    key=$(printf %s "$here" | cksum)
    environment=$data/env/${key%% *}
}

# Holds the environment the locks named by the arguments, and is every lock that it holds still the clone's?
is_current() {
    [ -x "$environment/bin/python" ] && [ ! -e "$environment/launcher/unfinished" ] || return 1
    for wanted in pyproject.toml "$@"; do
        [ -e "$environment/launcher/$wanted" ] || return 1
    done
    for copy in "$environment"/launcher/pyproject.toml "$environment"/launcher/*.lock; do
        cmp -s "$copy" "$here/${copy##*/}" || return 1
    done
}

find_python() {
    for python in ${MASTERY_PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 python; do
        "$python" -I -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && return
    done
    echo "mastery: no Python 3.11 or newer was found (tried ${MASTERY_PYTHON:-}${MASTERY_PYTHON:+, }python3, python3.14 to python3.11, python)." >&2
    echo "Remedy: install one (Debian, Ubuntu: apt install python3) or name it: MASTERY_PYTHON=/path/to/python3 $0" >&2
    exit 4
}

# Makes the environment hold the locks named by the arguments, and asks the network only when it does not yet.
require() {
    choose_environment
    is_current "$@" && return
    find_python
    "$python" -E -s "$here/launcher/prepare.py" "$here" "$environment" "$@" || exit $?
}
