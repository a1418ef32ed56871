#!/usr/bin/env python3
"""Judges Lookalike on the bundled project beside programs that share no code with it.

    python3 scripts/bench/peers.py BINARY

Popularity and item-kNN are computed again in numpy and scipy from the store's events, and must give what Lookalike's
evaluation says of them. If `implicit` is installed, its ALS is a peer for `ials`: same split, same protocol, its knobs
chosen on the validation part. Needs `numpy`, `scipy` and `pyarrow`.
"""

import datetime
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from zoneinfo import ZoneInfo

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # implicit brings threads of its own

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from scipy import sparse

PROJECT = Path(__file__).resolve().parents[2] / "datasets" / "complete-journey"
ZONE = ZoneInfo("America/New_York")
TEST_FROM = datetime.datetime(2017, 11, 27, tzinfo=ZONE)
VALIDATION_FROM = datetime.datetime(2017, 10, 30, tzinfo=ZONE)
NEIGHBOURS = 50
# Ties are broken in another order here than there.
TOLERANCE = 0.0005


def train(binary, scratch):
    """Trains `ials` on a clean copy of the project; returns the copy and what `train --json` says."""
    copy = scratch / "project"
    copy.mkdir()
    for path in PROJECT.iterdir():
        if path.is_file() and path.name != "store.lock":
            shutil.copy(path, copy)
    command = [binary, "train", "--project", copy, "--model", "ials", "--json", "--quiet"]
    done = subprocess.run(command, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"training failed with exit code {done.returncode}")
    return copy, json.loads(done.stdout)


def read(store):
    """Purchases as rows of users and items, with their times."""
    table = pq.read_table(store / "events.parquet", columns=["user", "item", "kind", "at"])
    table = table.filter(pc.and_(pc.equal(table["kind"], "purchase"), pc.is_valid(table["item"])))
    at = table["at"].cast("int64").to_numpy()
    known = at < TEST_FROM.timestamp() * 1e6
    users, user_ids = codes(table["user"], known)
    items, item_ids = codes(table["item"], known)
    return users, items, at, (len(user_ids), len(item_ids))


def codes(column, known):
    """Row numbers of the ids that occur before the test part; -1 for the others."""
    ids = column.to_numpy(zero_copy_only=False)
    vocabulary = np.unique(ids[known])
    rows = np.minimum(np.searchsorted(vocabulary, ids), len(vocabulary) - 1)
    return np.where(vocabulary[rows] == ids, rows, -1), vocabulary


def split(data, start, end):
    """History before `start`, and held-out pairs up to `end` whose user and item occur in it."""
    users, items, at, shape = data
    def matrix(rows):
        summed = sparse.coo_matrix((np.ones(rows.sum()), (users[rows], items[rows])), shape)
        return summed.tocsr()
    known = (users >= 0) & (items >= 0)
    history = matrix(known & (at < start.timestamp() * 1e6))
    truth = matrix(known & (at >= start.timestamp() * 1e6) & (at < end)).tocoo()
    keep = (history.getnnz(axis=1) > 0)[truth.row] & (history.getnnz(axis=0) > 0)[truth.col]
    return history, sparse.csr_matrix((truth.data[keep], (truth.row[keep], truth.col[keep])), shape)


def judge(history, truth, score):
    """Mean recall@10 and ndcg@10 of new items and of all items; `score(users)` gives `[users, items]`."""
    gains = 1 / np.log2(np.arange(10) + 2)
    order = np.random.default_rng(0).permutation(truth.shape[1])  # ties by chance
    sums = {"novel": [], "all": []}
    users = np.flatnonzero(truth.getnnz(axis=1))
    for start in range(0, len(users), 64):
        block = users[start : start + 64]
        for user, scores in zip(block, score(block)):
            had, wanted = history[user].indices, truth[user].indices
            for view in sums:
                new = np.setdiff1d(wanted, had) if view == "novel" else wanted
                if not len(new):
                    continue
                shuffled = scores[order].astype(np.float64)
                if view == "novel":
                    shuffled[np.isin(order, had)] = -np.inf
                near = np.argpartition(-shuffled, 200)[:200]
                bar = np.sort(shuffled[near])[::-1][9]
                near = np.flatnonzero(shuffled >= bar)  # every item that ties with the tenth
                top = order[near[np.argsort(-shuffled[near], kind="stable")][:10]]
                hits = np.isin(top, new)
                sums[view].append((hits.sum() / len(new), gains[hits].sum() / gains[: min(10, len(new))].sum()))
    return {view: dict(zip(("recall@10", "ndcg@10"), np.mean(rows, axis=0))) for view, rows in sums.items()}


def popularity(history):
    users = np.asarray(history.getnnz(axis=0), float)
    return lambda block: np.broadcast_to(users, (len(block), len(users)))


def item_knn(history):
    """W = ln(1 + n) ln(users / (1 + users of the item)); score = W C, with C the cosines of the 50 nearest items."""
    rarity = np.log(history.shape[0] / (1 + history.getnnz(axis=0)))
    w = history.copy()
    w.data = np.log1p(w.data)
    w = w @ sparse.diags(rarity)
    length = np.sqrt(np.asarray(w.multiply(w).sum(axis=0)).ravel())
    unit = (w @ sparse.diags(1 / np.where(length > 0, length, 1))).tocsc()
    blocks = []
    for start in range(0, unit.shape[1], 512):
        cosine = (unit[:, start : start + 512].T.tocsr() @ unit.tocsr()).tocsr()
        rows, cols, values = [], [], []
        for row in range(cosine.shape[0]):
            ends = slice(cosine.indptr[row], cosine.indptr[row + 1])
            near, value = cosine.indices[ends], cosine.data[ends]
            other = (near != start + row) & (value != 0)
            near, value = near[other], value[other]
            if len(value) > NEIGHBOURS:
                keep = value >= np.partition(value, -NEIGHBOURS)[-NEIGHBOURS] - 1e-9
                near, value = near[keep], value[keep]
            rows.append(np.full(len(near), row))
            cols.append(near)
            values.append(value)
        parts = [np.concatenate(part) for part in (values, rows, cols)]
        blocks.append(sparse.csr_matrix((parts[0], (parts[1], parts[2])), cosine.shape))
    c = sparse.vstack(blocks).tocsr()
    return lambda block: (w[block] @ c).toarray()


def implicit_als(history, knobs, regularization, alpha, approximate=True):
    from implicit.als import AlternatingLeastSquares

    weights = history.copy().astype(np.float32)
    weights.data = np.log2(1 + weights.data)
    model = AlternatingLeastSquares(
        factors=knobs["dim"], iterations=knobs["epochs"], regularization=regularization, alpha=alpha, random_state=42,
        use_cg=approximate,
    )
    start = time.monotonic()
    model.fit(weights, show_progress=False)
    seconds = time.monotonic() - start
    return seconds, lambda block: model.user_factors[block] @ model.item_factors.T


def implicit_peer(data, final, ours, log, knobs):
    validation = split(data, VALIDATION_FROM, TEST_FROM.timestamp() * 1e6)
    tried = []
    for regularization in (1.0, 10.0, 100.0):
        for alpha in (1.0, 10.0):
            _, score = implicit_als(validation[0], knobs, regularization, alpha)
            figure = judge(*validation, score)["novel"]["ndcg@10"]
            print(f"  implicit, reg {regularization:g}, alpha {alpha:g}: validation novel ndcg@10 {figure:.4f}")
            tried.append((figure, regularization, alpha))
    _, regularization, alpha = max(tried)
    epochs = [entry for entry in log if entry["phase"] == "final"]
    own = sum(entry["seconds"] for entry in epochs)
    print(f"\n{'':46}{'seconds':>9}{'a pass':>9}{'novel recall@10':>17}{'ndcg@10':>10}")
    def line(name, seconds, passes, figures):
        print(f"{name:46}{seconds:9.1f}{seconds / passes:9.2f}{figures['recall@10']:17.4f}{figures['ndcg@10']:10.4f}")
    line(f"Lookalike ials, {len(epochs)} passes", own, len(epochs), ours["novel"])
    for way, approximate in (("exact", False), ("conjugate gradients", True)):
        seconds, score = implicit_als(final[0], knobs, regularization, alpha, approximate)
        theirs = judge(*final, score)["novel"]
        line(f"implicit ALS, {way}, {knobs['epochs']} passes", seconds, knobs["epochs"], theirs)
        ratios = [ours["novel"][figure] / theirs[figure] for figure in ("recall@10", "ndcg@10")]
        print(f"  ours / theirs: time of a pass {own / len(epochs) / (seconds / knobs['epochs']):.2f},"
              f" recall@10 {ratios[0]:.3f}, ndcg@10 {ratios[1]:.3f}")
    print(f"implicit: reg {regularization:g}, alpha {alpha:g}, weights log2(1 + n), {knobs['dim']} numbers per embedding;"
          " its knobs were chosen with conjugate gradients, its default")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__.strip())
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "scipy", "pyarrow"))
    print(f"date: {datetime.date.today()}, {os.cpu_count()} cores, {platform.platform()}")
    print(f"load before the first run: {os.getloadavg()}; Python {platform.python_version()}, {versions}")
    with tempfile.TemporaryDirectory() as scratch:
        project, result = train(Path(sys.argv[1]).resolve(), Path(scratch))
        data = read(project / "store")
        run = project / "runs" / "ials"
        log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        knobs = json.loads((run / "bundle" / "manifest.json").read_text())["preset"]
    models = {model["name"]: model for model in result["metrics"]["models"]}
    final = split(data, TEST_FROM, np.inf)
    print(f"{data[3][0]} users, {data[3][1]} items, {final[0].nnz} pairs before the test part, {final[1].nnz} judged\n")

    worst = 0.0
    print(f"{'':12}{'':18}{'here':>9}{'Lookalike':>11}{'apart':>9}")
    for name, score in (("popularity", popularity(final[0])), ("item-kNN", item_knn(final[0]))):
        figures = judge(*final, score)
        for view in ("novel", "all"):
            for figure in ("recall@10", "ndcg@10"):
                here, there = figures[view][figure], models[name][view][figure]
                worst = max(worst, abs(here - there))
                print(f"{name:12}{view + ' ' + figure:18}{here:9.5f}{there:11.5f}{there - here:9.5f}")
    print(f"largest difference {worst:.5f}, {'within' if worst <= TOLERANCE else 'OUTSIDE'} {TOLERANCE}\n")

    try:
        print(f"implicit {importlib.metadata.version('implicit')}")
    except importlib.metadata.PackageNotFoundError:
        print("`implicit` is not installed (pip install implicit): no peer for `ials`")
    else:
        implicit_peer(data, final, models["ials"], log, knobs)
    if worst > TOLERANCE:
        sys.exit(1)


if __name__ == "__main__":
    main()
