#!/usr/bin/env python3
"""The time of a two-tower step beside PyTorch, on the same machine, taking turns.

    python3 scripts/bench/two_tower.py BINARY PEER [ROWS] [ROUNDS]

PEER is a script that takes `--rows N --batch B` (and `--sparse`, `--compile`, `--device`) and prints a line of JSON with
`ms_per_step`: towers 256-128-64 over an id table [rows, 64] and 8 tables [1000, 16], in-batch softmax. It runs as it is,
with `--sparse`, and with `--compile --sparse`; the fastest counts. Ours has the same widths and as many tables, all of 64
numbers, whose rows are added up instead of set side by side; of the ids, 8 values and the batch each step reads and changes
as many rows. Needs `numpy`, `pyarrow`, and what PEER needs.
"""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

BATCH, STEPS, FIELDS, VALUES = 8192, 20, 8, 1000
WAYS = [[], ["--sparse"], ["--sparse", "--compile"]]
DAY = 86_400_000_000


def project(folder, rows):
    """Pairs to learn from for STEPS steps; one more event names every user and every item, after these."""
    rng = np.random.default_rng(1)
    pairs = STEPS * BATCH
    learned = np.unique(np.stack([rng.integers(0, rows, 2 * pairs), rng.integers(0, rows, 2 * pairs)], axis=1), axis=0)
    learned = rng.permutation(learned)[:pairs]
    every = np.arange(rows)
    user = np.concatenate([learned[:, 0], every, learned[:1, 0]])
    item = np.concatenate([learned[:, 1], every, learned[1:2, 1]])
    day = np.concatenate([np.full(pairs, 1), np.full(rows, 40), [80]])
    at = pa.array(day * DAY, pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"user": user, "item": item, "at": at}), folder / "events.parquet")
    fields = [f"f{n}" for n in range(FIELDS)]
    for table in ("user", "item"):
        columns = {name: pa.array(rng.integers(0, VALUES, rows).astype(str)) for name in fields}
        pq.write_table(pa.table({table: every, **columns}), folder / f"{table}s.parquet")
    names = "".join(f'{name} = "{name}"\n' for name in fields)
    (folder / "lookalike.toml").write_text(
        '[sources.events]\npath = "events.parquet"\ntable = "events"\nkind = "purchase"\nat = { column = "at" }\n'
        'map = { user = "user", item = "item" }\n'
        f'[sources.users]\npath = "users.parquet"\ntable = "users"\n[sources.users.map]\nuser = "user"\n{names}'
        f'[sources.items]\npath = "items.parquet"\ntable = "items"\n[sources.items.map]\nitem = "item"\n{names}'
        "[interactions]\nkinds = { purchase = 1.0 }\n"
        'split = { kind = "time", test_from = "1970-03-12", validation_days = 35 }\n'
    )
    preset = {"kind": "two-tower", "when": "Measured.", "dim": 64, "epochs": 1, "patience": 1, "towers": [256, 128],
              "features": ["*"], "tags": [], "history": 0, "half_life": 0.0, "trend": False,
              "taste": False, "friends": False, "id_dropout": [0.0, 0.0], "cosine": True, "batch": BATCH, "negatives": 0,
              "hard": 1000, "lr": 0.05, "tower_lr": 0.001, "decay": 0.0, "tau": 0.05, "logq": True}
    (folder / "preset.toml").write_text("".join(f"{key} = {json.dumps(value)}\n" for key, value in preset.items()))


def ours(binary, folder, device):
    """Milliseconds per step of the first epoch, which is learning alone; the run is then ended."""
    log = folder / "run" / "log.jsonl"
    log.unlink(missing_ok=True)
    command = [binary, "train", "--project", folder, "--model", folder / "preset.toml", "--run", folder / "run",
               "--device", device, "--quiet"]
    run = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not (log.exists() and log.read_text().endswith("\n")):
        if run.poll() is not None:
            sys.exit(f"training ended with exit code {run.returncode} before its first epoch did")
        time.sleep(0.1)
    run.kill()
    run.wait()
    return 1e3 * json.loads(log.read_text().splitlines()[0])["seconds"] / STEPS


def peer(script, rows, way, device):
    command = [sys.executable, script, "--rows", str(rows), "--batch", str(BATCH), *way]
    command += ["--device", "cuda"] if device == "gpu" else []
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        return None, reason
    return json.loads(done.stdout.splitlines()[-1])["ms_per_step"], None


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    binary, script = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    rows = int(sys.argv[3]) if len(sys.argv) > 3 else 1_000_000
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 3
    device = os.environ.get("DEVICE", "cpu")
    print(f"date {time.strftime('%F')}, {platform.platform()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    print(f"{rows:,} users and items, {BATCH} pairs a step, {STEPS} steps, device {device}\n")
    times = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        project(folder, rows)
        subprocess.run([binary, "ingest", "--project", folder, "--quiet"], check=True, stdout=subprocess.DEVNULL)
        for _ in range(rounds):
            times.setdefault("lookalike", []).append(ours(binary, folder, device))
            for way in WAYS:
                name = " ".join(["PyTorch", *way])
                found, reason = peer(script, rows, way, device)
                if found is None:
                    print(f"{name} did not run: {reason}")
                else:
                    times.setdefault(name, []).append(found)
    for name, found in times.items():
        print(f"{name:<30} {statistics.median(found):9.1f} ms per step ({min(found):.1f} to {max(found):.1f})")
    others = [found for name, found in times.items() if name != "lookalike" and len(found) == rounds]
    if not others:
        sys.exit("no peer ran in every round")
    best = min(others, key=statistics.median)
    ratios = sorted(other / own for own, other in zip(times["lookalike"], best))
    print(f"ratio, PyTorch / lookalike: {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})")


if __name__ == "__main__":
    main()
