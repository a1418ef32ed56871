#!/usr/bin/env python3
"""Times an epoch of `ials` or `softmax-mf` beside a peer on pairs that are split already, and judges what both learned by
the same code.

    python3 scripts/bench/factorization.py BINARY TRAIN.parquet TEST.parquet
        [--model ials] [--dim 64] [--rounds 3] [--epochs 4] [--device cpu]

Both files have columns `user` and `item`. The peer of `ials` is irspack's exact solver (Cholesky), which minimises the
same loss with the same knobs, or, where irspack is not installed, the exact ALS of implicit, whose loss has no such knobs:
then times compare and figures do not. The peer of `softmax-mf` is PyTorch with dense Adam and the same loss, temperature,
pairs per step (2048) and shared negatives (1024); it scores negatives for every pair, Lookalike for every user of a step.
An epoch is one visit of every pair in either, but not the same number of updates of a user, so look at what both reach.
Programs take turns within a round. A peer's time of an epoch is that of training divided by its epochs; ours is the median
epoch of the final pass. Needs numpy, scipy, pyarrow and safetensors.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # peers bring threads of their own

import numpy as np
import pyarrow.parquet as pq
from safetensors.numpy import load_file
from scipy import sparse

CUT = 20
BATCH, NEGATIVES = 2048, 1024


def ours(options, dim, scratch):
    """Trains in a fresh project; returns the seconds of every final epoch, and both embeddings with their ids."""
    project = Path(tempfile.mkdtemp(dir=scratch))
    split = f'{{ kind = "given", train = "{options.train}", test = "{options.test}" }}'
    (project / "lookalike.toml").write_text(f'[project]\nname = "bench"\n[interactions]\nsplit = {split}\n')
    common = f'when = "A benchmark."\ndim = {dim}\nepochs = {options.epochs}\npatience = {options.epochs}\n'
    (project / "bench.toml").write_text(f'kind = "{options.model}"\n' + common + knobs(options))
    command = [options.binary, "train", "--project", project, "--model", project / "bench.toml", "--json", "--quiet"]
    done = subprocess.run([*command, "--device", options.device], stdout=subprocess.PIPE)
    # An index that misses too much ends the command with 1 and leaves the model.
    run = project / "runs" / "bench"
    if not (run / "bundle").is_dir():
        sys.exit(f"training failed with exit code {done.returncode}")
    log = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    tensors = load_file(run / "bundle" / "model.safetensors")
    ids = [pq.read_table(run / "bundle" / f"{side}.parquet")["id"].to_pylist() for side in ("users", "items")]
    embeddings = [tensors[f"{side}.embedding"] for side in ("user", "item")]
    return [entry["seconds"] for entry in log if entry["phase"] == "final"], embeddings, ids


def knobs(options):
    if options.model == "ials":
        return f'alpha0 = {options.alpha0}\nreg = {options.reg}\nnu = {options.nu}\nconfidence = "one"\n'
    return f"""loss = "sl"
tau = {options.tau}
negative_weight = {options.negative_weight}
margin = 0.0
negatives = {NEGATIVES}
draw = "uniform"
confidence = "one"
batch = {BATCH}
lr = 0.1
l2 = 0.0
dropout = 0.0
optimizer = "adagrad"
"""


def pytorch(options, dim, train):
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(os.cpu_count())
    device = "cpu" if options.device == "cpu" else "cuda"
    pairs = train.tocoo()
    rows, cols = (torch.as_tensor(side, dtype=torch.long, device=device) for side in (pairs.row, pairs.col))
    tables = [torch.nn.Parameter(torch.randn(count, dim, device=device) * 0.1) for count in train.shape]
    optimizer = torch.optim.Adam(tables, lr=1e-3)
    unit = torch.nn.functional.normalize
    start = time.perf_counter()
    for _ in range(options.epochs):
        for batch in torch.randperm(len(rows), device=device).split(BATCH):
            drawn = torch.randint(train.shape[1], (NEGATIVES,), device=device)
            users, items, others = unit(tables[0][rows[batch]]), unit(tables[1][cols[batch]]), unit(tables[1][drawn])
            own = (users * items).sum(1) / options.tau
            loss = (options.negative_weight * torch.logsumexp(users @ others.T / options.tau, 1) - own).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    if device == "cuda":
        torch.cuda.synchronize()
    seconds = (time.perf_counter() - start) / options.epochs
    return seconds, [unit(table.detach()).cpu().numpy() for table in tables]


def irspack(options, dim, train):
    from irspack import IALSRecommender

    knobs = dict(alpha0=options.alpha0, reg=options.reg, nu=options.nu, train_epochs=options.epochs)
    model = IALSRecommender(
        train.astype(np.float64), n_components=dim, n_threads=os.cpu_count(), solver_type="CHOLESKY", **knobs
    )
    start = time.perf_counter()
    model.learn()
    seconds = (time.perf_counter() - start) / options.epochs
    return seconds, [model.get_user_embedding(), model.get_item_embedding()]


def implicit(options, dim, train):
    from implicit.als import AlternatingLeastSquares

    model = AlternatingLeastSquares(factors=dim, iterations=options.epochs, regularization=1.0, use_cg=False)
    start = time.perf_counter()
    model.fit(train, show_progress=False)
    return (time.perf_counter() - start) / options.epochs, [model.user_factors, model.item_factors]


def judge(embeddings, train, test):
    """Mean recall and ndcg over all items but those of the training part (the protocol of LightGCN)."""
    users = np.flatnonzero(np.diff(test.indptr))
    gains = 1 / np.log2(np.arange(CUT) + 2)
    ideal = np.concatenate([[0], np.cumsum(gains)])
    items = np.asarray(embeddings[1], np.float32).T
    sums = np.zeros(2)
    for start in range(0, len(users), 512):
        block = users[start : start + 512]
        scores = np.asarray(embeddings[0][block], np.float32) @ items
        seen = train[block].tocoo()
        scores[seen.row, seen.col] = -np.inf
        near = np.argpartition(-scores, CUT, axis=1)[:, :CUT]
        order = np.argsort(-np.take_along_axis(scores, near, axis=1), axis=1, kind="stable")
        for user, top in zip(block, np.take_along_axis(near, order, axis=1)):
            wanted = test[user].indices
            hits = np.isin(top, wanted)
            sums += hits.sum() / len(wanted), gains[hits].sum() / ideal[min(CUT, len(wanted))]
    return sums / len(users)


def read(paths):
    """A matrix of ones per file, all of one shape, and the names of its rows and of its columns in order."""
    tables = [pq.read_table(path, columns=["user", "item"]) for path in paths]
    sides, names = [], []
    for side in ("user", "item"):
        columns = [table[side].cast("string").to_numpy() for table in tables]
        known, places = np.unique(np.concatenate(columns), return_inverse=True)
        names.append(known)
        sides.append(np.split(places, np.cumsum([len(column) for column in columns])[:-1]))
    shape = tuple(map(len, names))
    pairs = list(zip(*sides))
    return [sparse.csr_matrix((np.ones(len(rows), np.float32), (rows, cols)), shape) for rows, cols in pairs], names


def spread(numbers, unit=" s"):
    low, middle, high = min(numbers), statistics.median(numbers), max(numbers)
    return f"min {low:.3f}{unit}, median {middle:.3f}{unit}, max {high:.3f}{unit}"


def find_peer(model):
    for peer, package in ((irspack, "irspack"), (implicit, "implicit")) if model == "ials" else ((pytorch, "torch"),):
        try:
            return peer, f"{package} {importlib.metadata.version(package)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    sys.exit(f"no peer of {model} is installed")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("binary", type=Path)
    parser.add_argument("train", type=Path)
    parser.add_argument("test", type=Path)
    parser.add_argument("--model", choices=["ials", "softmax-mf"], default="ials")
    parser.add_argument("--dim", type=int, nargs="+", default=[64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--device", default="cpu")
    for knob, value in (("alpha0", 0.1), ("reg", 0.001), ("nu", 1.0), ("tau", 0.1), ("negative_weight", 1.2)):
        parser.add_argument("--" + knob.replace("_", "-"), type=float, default=value)
    options = parser.parse_args()
    options.binary, options.train, options.test = (p.resolve() for p in (options.binary, options.train, options.test))
    peer, version = find_peer(options.model)
    (train, test), names = read([options.train, options.test])
    shape = train.shape
    print(f"date: {time.strftime('%F')}, {os.cpu_count()} cores, {platform.platform()}; {options.model} beside {version}")
    print(f"load before the first round: {os.getloadavg()}; {train.nnz} pairs, {shape[0]} users, {shape[1]} items")
    with tempfile.TemporaryDirectory() as scratch:
        for dim in options.dim:
            times, ratios, figures = ([], []), [], ([], [])
            for _ in range(options.rounds):
                epochs, embeddings, ids = ours(options, dim, scratch)
                placed = [np.zeros((rows, dim), np.float32) for rows in shape]
                for to, numbers, order, known in zip(placed, embeddings, ids, names):
                    to[np.searchsorted(known, np.array(order, known.dtype))] = numbers
                theirs, their_embeddings = peer(options, dim, train)
                times[0].append(statistics.median(epochs)), times[1].append(theirs)
                ratios.append(theirs / times[0][-1])
                figures[0].append(judge(placed, train, test)), figures[1].append(judge(their_embeddings, train, test))
            print(f"\n{dim} numbers per embedding, {options.epochs} epochs, {options.rounds} rounds")
            for name, seconds, figure in zip(("Lookalike", version), times, figures):
                recall, ndcg = np.mean(figure, axis=0)
                print(f"  {name:20} epoch {spread(seconds)}; recall@{CUT} {recall:.4f}, ndcg@{CUT} {ndcg:.4f}")
            print(f"  theirs / ours, time  {spread(ratios, '')}")
            quality = np.mean(figures[0], axis=0) / np.mean(figures[1], axis=0)
            print(f"  ours / theirs        recall@{CUT} {quality[0]:.3f}, ndcg@{CUT} {quality[1]:.3f}")
    print(f"\nload after the last round: {os.getloadavg()}")


if __name__ == "__main__":
    main()
