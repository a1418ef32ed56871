#!/usr/bin/env python3
"""Whether fold-in finds what training found: users of a run are folded in from their own histories, as if they were new,
and their 20 best new items compared with those that their trained vectors give, all searched exactly.

    scripts/bench/fold_in.py BINARY RUN PROJECT [USERS]

Prints the mean share of items that stay. What is known of users beside their histories (tags, attributes, friends) is
not folded in: what is lost without it shows here. Needs Python with numpy and pyarrow.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

COUNT = 20

binary, run, project = sys.argv[1:4]
most = int(sys.argv[4]) if len(sys.argv) > 4 else 300
bundle = Path(run) / "bundle"
users, items = (pq.read_table(bundle / f"{name}.parquet")["id"].to_pylist() for name in ("users", "items"))
history = pq.read_table(bundle / "history.parquet")
user, item, weight = (history[name].to_numpy() for name in ("user_row", "item_row", "weight"))
met = np.unique(user)
drawn = np.random.default_rng(1).choice(met, min(most, len(met)), replace=False)
known = np.isin(user, drawn)


def recommend(*args):
    command = [binary, "recommend", "--run", run, "--project", project, "--k", str(COUNT), "--exact", "--quiet", *args]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


with tempfile.TemporaryDirectory() as scratch:
    lines, lists = f"{scratch}/history.csv", f"{scratch}/lists.parquet"
    table = {"user": [f"new {users[row]}" for row in user[known]], "item": [items[row] for row in item[known]],
             "weight": weight[known]}
    csv.write_csv(pa.table(table), lines)
    answers = json.loads(recommend("--history", lines, "--json"))["users"]
    recommend("--all", "--out", lists)
    trained = pq.read_table(lists).to_pydict()
found = {answer["user"]: {hit["item"] for hit in answer["items"]} for answer in answers}
trained_lists = {}
for name, hit in zip(trained["user"], trained["item"]):
    trained_lists.setdefault(name, set()).add(hit)
shares = [len(found[f"new {users[row]}"] & trained_lists[users[row]]) / COUNT for row in drawn]
print(f"{np.mean(shares):.3f} of the {COUNT} items of {len(shares)} users stay (least {np.min(shares):.2f})")
