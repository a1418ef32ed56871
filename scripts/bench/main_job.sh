#!/usr/bin/env bash
# Times the README's first command from a clean copy of the bundled project: ingest, train, evaluate, index.
#
#     scripts/bench/main_job.sh [BINARY] [RUNS] [further arguments of `train`]
#
# Wall time, time on the CPUs and peak memory are those of the process as the system sees them; the goals are 60 s and 2 GB on 2 cores.
set -euo pipefail
source "$(dirname "$0")/lib.sh"

program="$(binary "${1:-}")"
runs="${2:-3}"
further=("${@:3}")

machine "$program"
for ((run = 1; run <= runs; run++)); do
    project="$scratch/project-$run"
    clean_copy "$root/datasets/complete-journey" "$project"
    python3 - "$scratch/run-$run.json" "$program" train --project "$project" --json --quiet "${further[@]}" <<'PYTHON'
import json, resource, subprocess, sys, time

out, command = sys.argv[1], sys.argv[2:]
start = time.monotonic()
done = subprocess.run(command, stdout=subprocess.PIPE)
wall = time.monotonic() - start
if done.returncode:
    sys.exit(f"the command failed with exit code {done.returncode}")
result = json.loads(done.stdout)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
result["wall"], result["cpu"] = wall, used.ru_utime + used.ru_stime
result["peak"] = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
json.dump(result, open(out, "w"))
parts = ", ".join(f"{name} {seconds:.1f}" for name, seconds in result["seconds"].items())
print(f"run: {wall:.1f} s ({parts}), {result['cpu']:.1f} s of CPU, {result['peak'] / 1e9:.2f} GB")
PYTHON
    rm -rf "$project"
done

python3 - "$scratch"/run-*.json <<'PYTHON'
import json, statistics, sys

runs = [json.load(open(path)) for path in sys.argv[1:]]
walls, peak = [run["wall"] for run in runs], max(run["peak"] for run in runs)
middle = statistics.median(walls)
print(f"\ndevice:  {runs[0]['device']}")
print(f"wall:    min {min(walls):.1f} s, median {middle:.1f} s, max {max(walls):.1f} s;"
      f" median / goal of 60 s = {middle / 60:.2f}")
print(f"CPU:     {statistics.median(run['cpu'] for run in runs):.1f} s at the median; where others use the machine, wall"
      " time says little and this says more")
print(f"memory:  {peak / 1e9:.2f} GB at most; / goal of 2 GB = {peak / 2e9:.2f}")
index = runs[0]["index"]
print(f"index:   finds {index['recall_at_10']:.4f} of the 10 best, {index['ef_search']} candidates per search\n")
views, figures = ("novel", "repeat", "all"), ("recall@10", "ndcg@10")
print(f"{'':20}" + "".join(f"{view + ' ' + figure:>18}" for view in views for figure in figures))
for model in runs[0]["metrics"]["models"]:
    cells = [model.get(view, {}).get(figure) for view in views for figure in figures]
    print(f"{model['name']:20}" + "".join(f"{'-' if cell is None else format(cell, '.4f'):>18}" for cell in cells))
same = all(run["metrics"] == runs[0]["metrics"] for run in runs)
print(f"\nfigures of all runs are the same: {'yes' if same else 'NO'}")
PYTHON
