#!/usr/bin/env bash
# Whether a step of the two-tower costs what its batch costs, and not what the catalogue costs: the same number of
# users, pairs and pairs per step, on catalogues of 10,000 and of 1,000,000 items, or of other sizes. The goal is a ratio within 0.85 to 1.15.
#
#     scripts/bench/two_tower_step.sh [BINARY] [ROUNDS] [SIZE SIZE]
#
# The time is what `log.jsonl` says of the first epoch, which is learning alone; the run is then ended. Needs Python
# with `numpy` and `pyarrow`, and 3 GB of disk in the temporary folder.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

program="$(binary "${1:-}")"
rounds="${2:-5}"
sizes=("${@:3}")
[[ ${#sizes[@]} -eq 2 ]] || sizes=(10000 1000000)

machine "$program"
# Towers alone, of pairs: beside a factorization every item's score is looked at once for each user.
cat > "$scratch/pairs.toml" <<'TOML'
kind = "two-tower"
when = "Measured."
dim = 64
epochs = 1
patience = 1
towers = [128]
features = ["*"]
tags = []
history = 0
half_life = 0.0
trend = false
taste = false
friends = false
id_dropout = [0.0, 0.0]
cosine = true
batch = 1024
negatives = 0
hard = 1000
lr = 0.05
tower_lr = 0.001
decay = 0.0
tau = 0.1
logq = true
TOML
python3 - "$scratch" "${sizes[@]}" <<'PYTHON'
import sys
from pathlib import Path
import numpy as np, pyarrow as pa, pyarrow.parquet as pq

USERS, STEPS = 20_000, 200
scratch = Path(sys.argv[1])
batch = 1024
print(f"batch:   {batch} pairs, {STEPS} steps, {USERS:,} users\n")
(scratch / "steps").write_text(str(STEPS))
for size in map(int, sys.argv[2:]):
    project = scratch / f"items-{size}"
    project.mkdir()
    drawn, rng = np.empty((0, 2), np.int64), np.random.default_rng(1)
    while len(drawn) < STEPS * batch:  # each pair once, so that both catalogues have equally many steps
        more = np.stack([rng.integers(0, USERS, batch), rng.integers(0, size, batch)], axis=1)
        more[:USERS, 0] = (len(drawn) + np.arange(batch))[:USERS] % USERS  # every user has a history of the same length
        drawn = np.unique(np.concatenate([drawn, more]), axis=0)
    drawn = rng.permutation(drawn)[: STEPS * batch]
    def write(name, users, items):
        pq.write_table(pa.table({"user": pa.array(users), "item": pa.array(items)}), project / f"{name}.parquet")
    write("train", drawn[:, 0], drawn[:, 1])
    # One user's validation part names the whole catalogue: that makes it known without being learned from.
    write("validation", np.full(size, drawn[0, 0]), np.arange(size))
    write("test", drawn[1:2, 0], drawn[1:2, 1])
    (project / "lookalike.toml").write_text(
        '[interactions]\nsplit = { kind = "given", train = "train.parquet", validation = "validation.parquet",'
        ' test = "test.parquet" }\n')
PYTHON

once() {
    local run="$scratch/run" log="$scratch/run/log.jsonl" pid
    rm -rf "$run"
    "$program" train --project "$scratch/items-$1" --model "$scratch/pairs.toml" --device cpu --run "$run" --quiet \
        > /dev/null &
    pid=$!
    until [[ -s "$log" ]]; do
        kill -0 "$pid" 2>/dev/null || { echo "the run on $1 items failed" >&2; exit 1; }
        sleep 0.2
    done
    head -n 1 "$log" >> "$scratch/log-$1"
    kill -9 "$pid" && wait "$pid" 2>/dev/null || true
}

for ((round = 1; round <= rounds; round++)); do
    for size in "${sizes[@]}"; do once "$size"; done
done

python3 - "$scratch" "${sizes[@]}" <<'PYTHON'
import json, statistics, sys
from pathlib import Path

scratch = Path(sys.argv[1])
steps, medians = int((scratch / "steps").read_text()), []
for size in sys.argv[2:]:
    times = [json.loads(line)["seconds"] / steps * 1e3 for line in (scratch / f"log-{size}").read_text().splitlines()]
    medians.append(statistics.median(times))
    print(f"{int(size):>9,} items: {medians[-1]:.2f} ms per step (min {min(times):.2f}, max {max(times):.2f},"
          f" {len(times)} runs)")
ratio = medians[1] / medians[0]
print(f"ratio: {ratio:.3f}, {'within' if 0.85 <= ratio <= 1.15 else 'OUTSIDE'} 0.85 to 1.15")
PYTHON
