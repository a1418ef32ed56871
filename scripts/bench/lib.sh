# Shared by the benchmark scripts: the machine in words, clean copies, a temporary folder that goes away.

root="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"

scratch="$(mktemp -d)"
trap 'rm -rf "$scratch"' EXIT

# The binary to measure: the argument, or what `cargo build --release` left.
binary() {
    local path="${1:-${CARGO_TARGET_DIR:-$root/target}/release/lookalike}"
    [[ -x "$path" ]] || { echo "no program at $path: build it with \`cargo build --release\`" >&2; exit 1; }
    realpath "$path"
}

machine() {
    local cpu
    cpu="$(sed -n 's/^model name[[:space:]]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)"
    echo "date:    $(date -u +%F)"
    echo "machine: ${cpu:-$(uname -m)}, $(getconf _NPROCESSORS_ONLN) cores, $(uname -sr)"
    echo "load:    $(uptime | sed 's/.*load average/load average/') before the first run"
    echo "program: $("$1" --version), $(rustc --version 2>/dev/null || echo 'no rustc at hand')"
}

# A project folder without what ingest and training left in it.
clean_copy() {
    mkdir -p "$2"
    (cd "$1" && find . -maxdepth 1 -type f ! -name store.lock -exec cp {} "$2" \;)
}
