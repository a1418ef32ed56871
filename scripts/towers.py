#!/usr/bin/env python3
"""Passes what a two-tower bundle read of its users and items through its towers, and compares with the bundle's embeddings.

    python3 scripts/towers.py BUNDLE_DIR

Needs numpy and safetensors alone. For side `user` or `item` and row r of it:

  x = sum of weights[e] * table[rows[e]] over e from offsets[r] to offsets[r + 1]        (tower.SIDE.bags.*, tower.SIDE.table)
  h = x; for every layer n: h = relu(h if n > 0) @ tower.SIDE.n.weight + tower.SIDE.n.bias
  vector = x + h (x alone without layers); divided by its length where the model compares directions
  embedding = the factorization's numbers (the first `base.dim` of them), if there is a base, then the vector

A score is the inner product of two embeddings. Users of whom nothing was learned have zeros, and are not compared.
"""
import json
import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file


def tower(model, side, unit):
    table, rows, weights, offsets = (model[f"tower.{side}.{name}"] for name in ("table", "bags.rows", "bags.weights", "bags.offsets"))
    sums = np.zeros((len(rows) + 1, table.shape[1]))
    np.cumsum(table[rows] * weights[:, None].astype(np.float64), axis=0, out=sums[1:])
    x = sums[offsets[1:]] - sums[offsets[:-1]]
    h, layer = x if f"tower.{side}.0.weight" in model else np.zeros_like(x), 0
    while f"tower.{side}.{layer}.weight" in model:
        h = (np.maximum(h, 0) if layer else h) @ model[f"tower.{side}.{layer}.weight"] + model[f"tower.{side}.{layer}.bias"]
        layer += 1
    return (x + h) / (np.sqrt(((x + h) ** 2).sum(1, keepdims=True) + 1e-12) if unit else 1)


folder = Path(sys.argv[1]) if len(sys.argv) == 2 else sys.exit(__doc__.strip())
model, preset = load_file(folder / "model.safetensors"), json.loads((folder / "manifest.json").read_text())["preset"]
base, worst = preset.get("base") or {"dim": 0}, 0.0
for side in ("user", "item"):
    vectors = tower(model, side, "base" not in preset and (side == "user" or preset["cosine"]))
    known = model[f"{side}.embedding"]
    embeddings = np.hstack([known[:, : base["dim"]], vectors])
    worst = max(worst, np.abs(embeddings - known)[np.any(known != 0, axis=1)].max())
print(f"largest difference of a number of an embedding: {worst:.2e}")
sys.exit(int(worst > 1e-4))
