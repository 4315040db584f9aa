#!/usr/bin/env bash
# Sets up what is needed, then runs the study. `./run_all.sh --help` lists the commands.
set -euo pipefail

source_file="${BASH_SOURCE[0]}"
while [[ -L "$source_file" ]]; do  # follow links, so that a link to this file works from anywhere
    folder="$(cd -- "$(dirname -- "$source_file")" && pwd -P)"
    source_file="$(readlink -- "$source_file")"
    [[ "$source_file" == /* ]] || source_file="$folder/$source_file"
done
root="$(cd -- "$(dirname -- "$source_file")" && pwd -P)"
lock="$root/requirements.lock"
checker="$root/amfir_lib/run/doctor.py"
setup_log="$root/.setup.log"

say() { printf '%s\n' "$*" >&2; }
fail() { say "run_all.sh: $*"; exit 1; }

# Answered here, because a person who asks for help has perhaps nothing installed yet.
case "${1:-}" in
    -h | --help | help)
        if [[ $# -eq 1 ]]; then exec cat -- "$root/amfir_lib/run/usage.txt"; fi ;;
    --version)
        exec sed -n 's/^__version__ = "\(.*\)"$/amfir-study \1/p' "$root/amfir_lib/__init__.py" ;;
esac

satisfies() { "$1" "$checker" --quiet "$lock" >/dev/null 2>&1; }

# What a finished set-up leaves behind: this folder, this list of pins. Anything else is redone.
stamp() {
    local sum
    if command -v sha256sum >/dev/null 2>&1; then sum="$(sha256sum < "$lock")"; else sum="$(shasum -a 256 < "$lock")"; fi
    printf '%s %s\n' "${sum%% *}" "$root"
}
is_set_up() { [[ -x "$1/bin/python" && -f "$1/amfir.stamp" && "$(cat -- "$1/amfir.stamp")" == "$(stamp)" ]]; }

# After the packages: make amfir_lib importable from any folder, and replace OpenCV where a server has no libGL.
# Called as a condition, where bash does not stop at errors by itself: so each step says what follows its failure.
finish_set_up() {
    local prefix="$1" site version
    site="$("$prefix/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' 2>> "$setup_log")" || return 1
    printf '%s\n' "$root" > "$site/amfir_study.pth" || return 1
    if ! "$prefix/bin/python" -c 'import cv2' >/dev/null 2>&1; then
        version="$(sed -n 's/^opencv-python==\([^ ;]*\).*/\1/p' "$lock")"
        say "opencv-python does not load here (often libGL is missing on a server): using opencv-python-headless $version instead."
        "$prefix/bin/python" -m pip uninstall --yes --quiet opencv-python >> "$setup_log" 2>&1 || true
        "$prefix/bin/python" -m pip install --no-deps --force-reinstall "opencv-python-headless==$version" >> "$setup_log" 2>&1 || true
        "$prefix/bin/python" -c 'import cv2' >> "$setup_log" 2>&1 || fail "OpenCV cannot be loaded: $(tail -n 1 -- "$setup_log").\
 On Debian or Ubuntu: apt-get install libgl1 libglib2.0-0. Then run this again."
    fi
    stamp > "$prefix/amfir.stamp.partial" || return 1
    mv -f -- "$prefix/amfir.stamp.partial" "$prefix/amfir.stamp"
}

set_up_with_conda() {  # prints nothing on stdout; status 1: this conda could not do it
    local tool="$1" prefix="$root/.conda"
    say "Setting up with $tool in .conda (once; 5 to 10 minutes, about 6 GB; details in .setup.log) ..."
    rm -rf -- "$prefix"
    if [[ "$tool" == micromamba ]]; then
        "$tool" create --yes --prefix "$prefix" --file "$root/environment.yml" >> "$setup_log" 2>&1 || return 1
    else
        "$tool" env create --yes --prefix "$prefix" --file "$root/environment.yml" >> "$setup_log" 2>&1 || return 1
    fi
    finish_set_up "$prefix"
}

find_base_python() {  # the first Python of a supported version
    local name
    for name in python3 python python3.13 python3.12 python3.11; do
        if command -v "$name" >/dev/null 2>&1 \
            && "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' >/dev/null 2>&1; then
            command -v "$name"
            return 0
        fi
    done
    return 1
}

set_up_with_venv() {
    local prefix="$root/.venv" base found
    if ! base="$(find_base_python)"; then
        found="$( (python3 --version || python --version) 2>/dev/null || echo 'no Python at all')"
        fail "the study needs Python 3.11, 3.12 or 3.13, and this machine has $found.\
 Install one of them (Debian or Ubuntu: apt-get install python3 python3-venv), or conda, and run this again."
    fi
    if ! "$base" -c 'import venv, ensurepip' >/dev/null 2>&1; then
        fail "$base has no venv module. On Debian or Ubuntu: apt-get install python3-venv. Then run this again."
    fi
    say "Setting up in .venv with $("$base" --version) (once; 2 to 10 minutes, about 6 GB; details in .setup.log) ..."
    # An interrupted set-up is continued, one of another folder or a broken one is thrown away.
    if ! { [[ -f "$prefix/amfir.root" && "$(cat -- "$prefix/amfir.root")" == "$root" ]] \
        && "$prefix/bin/python" -m pip --version >/dev/null 2>&1; }; then
        rm -rf -- "$prefix"
        "$base" -m venv "$prefix" >> "$setup_log" 2>&1 || fail "python -m venv failed: $(tail -n 1 -- "$setup_log")"
        printf '%s\n' "$root" > "$prefix/amfir.root"
    fi
    rm -f -- "$prefix/amfir.stamp"
    "$prefix/bin/python" -m pip install --progress-bar off --requirement "$lock" >> "$setup_log" 2>&1 &
    local pip=$! seconds=0
    trap 'kill "$pip" 2>/dev/null; exit 130' INT TERM
    while kill -0 "$pip" 2>/dev/null; do
        sleep 1
        seconds=$((seconds + 1))
        if ((seconds % 30 == 0)); then say "  ... $seconds s: $(tail -n 1 -- "$setup_log" | cut -c 1-100)"; fi
    done
    trap - INT TERM
    wait "$pip" || fail "pip could not install the packages: $(grep -E '^ERROR' -- "$setup_log" | tail -n 1).\
 Full log: $setup_log. Run this again to continue where it stopped."
    finish_set_up "$prefix" || fail "the set-up could not be finished: $(tail -n 1 -- "$setup_log")"
    say "Set-up done."
}

choose_python() {  # sets $python
    local name tool prefix
    for name in python python3; do
        if command -v "$name" >/dev/null 2>&1 && satisfies "$(command -v "$name")"; then
            python="$(command -v "$name")"
            return
        fi
    done
    for prefix in "$root/.venv" "$root/.conda"; do
        if is_set_up "$prefix"; then python="$prefix/bin/python"; return; fi
    done
    : > "$setup_log"
    export PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_DISABLE_PIP_VERSION_CHECK=1
    unset PIP_TARGET PIP_PREFIX PYTHONHOME
    for tool in mamba conda micromamba; do
        if command -v "$tool" >/dev/null 2>&1; then
            if set_up_with_conda "$tool"; then python="$root/.conda/bin/python"; return; fi
            say "$tool could not make the environment ($(tail -n 1 -- "$setup_log" | cut -c 1-160)); trying Python's own venv."
            rm -rf -- "$root/.conda"
        fi
    done
    set_up_with_venv
    python="$root/.venv/bin/python"
}

python=""
choose_python
export PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
exec "$python" -m amfir_lib "$@"
