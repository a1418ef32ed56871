#!/usr/bin/env python3
"""Opens a bundle with `safetensors`, `numpy` and `pyarrow` alone and prints the five nearest items of an item.

    python3 scripts/open_bundle.py BUNDLE_DIR [ITEM_ID]

Nearest by inner product of the item embeddings or, in a bundle without them, by the weights from item to item. Without
ITEM_ID: the item that most training history speaks of.
"""

import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import load_file

NEAREST = 5


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__.strip())
    folder = Path(sys.argv[1])
    try:
        model = load_file(folder / "model.safetensors")
        items = pq.read_table(folder / "items.parquet")
        history = pq.read_table(folder / "history.parquet")
    except (OSError, KeyError) as error:
        sys.exit(f"`{folder}` does not open as a bundle: {error}")
    ids, titles = items["id"].to_pylist(), items["title"].to_pylist()
    if not ids:
        sys.exit(f"`{folder}` holds no items")

    if len(sys.argv) == 3:
        if sys.argv[2] not in ids:
            sys.exit(f"no item `{sys.argv[2]}` among the {len(ids)} items of `{folder}`")
        row = ids.index(sys.argv[2])
    else:
        row = int(np.bincount(history["item_row"].to_numpy(), minlength=len(ids)).argmax())

    if "item.embedding" in model:
        scores = model["item.embedding"] @ model["item.embedding"][row]
    else:
        start, end = (int(offset) for offset in model["item.weights.offsets"][row : row + 2])
        scores = np.zeros(len(ids), np.float32)
        scores[model["item.weights.cols"][start:end]] = model["item.weights.values"][start:end]
    scores[row] = -np.inf
    print(f"{ids[row]}  {titles[row] or ''}")
    for other in np.argsort(-scores, kind="stable")[:min(NEAREST, len(ids) - 1)]:
        print(f"  {scores[other]:8.4f}  {ids[other]}  {titles[other] or ''}")


if __name__ == "__main__":
    main()
