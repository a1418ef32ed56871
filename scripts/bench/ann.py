"""The index beside hnswlib, faiss and usearch, in turn on the same vectors and machine.

    python3 scripts/bench/ann.py BINARY FOLDER [ROUNDS]

FOLDER holds base.fvecs, query.fvecs and gt_cosine_top100.ivecs, and vectors are compared by cosine; or base.npy and
query.npy, compared by inner product, as `bundle_vectors.py` takes them from a bundle. All have M = 16 and
ef_construction = 200, are built by two threads and asked by one; exact search is asked by two, beside
faiss IndexFlatIP. Per round every program builds anew. A program's speed at a recall is
taken between the two settings around the recall by interpolation (logarithm of the speed over recall).
"""
import json, math, os, platform, statistics, subprocess, sys, time

from importlib.metadata import version

import faiss, hnswlib, numpy as np
import usearch
from usearch.index import Index as Usearch

EFS = [10, 15, 20, 30, 40, 60, 80, 120, 160, 240, 320, 480]
TARGETS = [0.95, 0.99]
M, EF_CONSTRUCTION, K = 16, 200, 10


def read(path, kind):
    raw = np.fromfile(path, dtype=np.int32)
    return raw.reshape(-1, raw[0] + 1)[:, 1:].copy().view(kind)


def rate(ask, queries):
    """Queries per second of the median pass, of three or more, over 0.4 s or more."""
    passes, start = [], time.perf_counter()
    while len(passes) < 3 or time.perf_counter() - start < 0.4:
        begin = time.perf_counter()
        ask()
        passes.append(time.perf_counter() - begin)
    return queries / statistics.median(passes)


def measured(build, ask, queries, truth):
    begin = time.perf_counter()
    build()
    seconds, rows = time.perf_counter() - begin, []
    for ef in EFS:
        found = ask(ef)
        recall = float(np.mean([len(set(a) & set(b)) / K for a, b in zip(found, truth)]))
        rows.append({"ef": ef, "recall@10": recall, "qps": rate(lambda: ask(ef), len(queries))})
    return {"build_seconds": seconds, "rows": rows}


def peers(base, query, truth, metric):
    if metric == "cosine":
        base, query = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (base, query))
    base, query = np.ascontiguousarray(base), np.ascontiguousarray(query)
    results = {}

    h = hnswlib.Index(space="ip", dim=base.shape[1])
    h.init_index(len(base), ef_construction=EF_CONSTRUCTION, M=M)
    def ask_h(ef):
        h.set_num_threads(1); h.set_ef(ef)
        return h.knn_query(query, k=K)[0]
    results["hnswlib"] = measured(lambda: (h.set_num_threads(2), h.add_items(base)), ask_h, query, truth)

    f = faiss.IndexHNSWFlat(base.shape[1], M, faiss.METRIC_INNER_PRODUCT)
    f.hnsw.efConstruction = EF_CONSTRUCTION
    def build_f(): faiss.omp_set_num_threads(2); f.add(base)
    def ask_f(ef):
        faiss.omp_set_num_threads(1); f.hnsw.efSearch = ef
        return f.search(query, K)[1]
    results["faiss-hnsw"] = measured(build_f, ask_f, query, truth)

    u = Usearch(ndim=base.shape[1], metric="ip", dtype="f32", connectivity=M, expansion_add=EF_CONSTRUCTION)
    def ask_u(ef):
        u.expansion_search = ef
        return u.search(query, K, threads=1).keys
    results["usearch"] = measured(lambda: u.add(np.arange(len(base)), base, threads=2), ask_u, query, truth)

    flat = faiss.IndexFlatIP(base.shape[1])
    flat.add(base)
    faiss.omp_set_num_threads(2)
    results["exact"] = rate(lambda: flat.search(query, K), len(query))
    return results


def ours(binary, folder, threads, metric):
    ending = "fvecs" if metric == "cosine" else "npy"
    truth = ["--truth", f"{folder}/gt_cosine_top100.ivecs"] if metric == "cosine" else []
    command = [binary, "index", "bench", "--vectors", f"{folder}/base.{ending}", "--queries", f"{folder}/query.{ending}",
               *truth, "--metric", metric, "--m", str(M),
               "--ef-construction", str(EF_CONSTRUCTION), "--threads", str(threads), "--json", "--quiet"]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def at(result, target):
    """Queries per second at a recall."""
    rows = sorted((row["recall@10"], row["qps"]) for row in result["rows"] if "ef" in row)
    for (low, fast), (high, slow) in zip(rows, rows[1:]):
        if low < target <= high:
            share = (target - low) / (high - low)
            return math.exp(math.log(fast) * (1 - share) + math.log(slow) * share)
    return rows[0][1] if rows[0][0] >= target else 0.0


def spread(values):
    return f"{statistics.median(values):.2f} ({min(values):.2f}, {max(values):.2f})"


def main():
    binary, folder, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 3
    if os.path.exists(f"{folder}/base.fvecs"):
        metric = "cosine"
        base, query = (read(f"{folder}/{name}.fvecs", np.float32) for name in ("base", "query"))
        truth = read(f"{folder}/gt_cosine_top100.ivecs", np.int32)[:, :K]
    else:
        metric = "ip"
        base, query = (np.load(f"{folder}/{name}.npy") for name in ("base", "query"))
        truth = np.argsort(-(query @ base.T), axis=1, kind="stable")[:, :K]
    cpu = next((line.split(": ")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    print(f"date:     {time.strftime('%F')}")
    print(f"machine:  {cpu}, {os.cpu_count()} cores, {platform.system()} {platform.release()}")
    print(f"load:     {os.getloadavg()[0]:.1f} before the first run")
    print(f"versions: {subprocess.run([binary, '--version'], capture_output=True, text=True).stdout.strip()}, "
          f"hnswlib {version('hnswlib')}, faiss {faiss.__version__}, usearch {usearch.__version__}")
    print(f"vectors:  {base.shape[0]} x {base.shape[1]}, {len(query)} queries, {metric}, k {K}, M {M}, ef_construction {EF_CONSTRUCTION}")
    all_ours, all_peers = [], []
    for _ in range(rounds):
        two, one = ours(binary, folder, 2, metric), ours(binary, folder, 1, metric)
        all_ours.append({"build_seconds": two["build_seconds"], "rows": one["rows"], "exact": two["rows"][-1]["qps"]})
        all_peers.append(peers(base, query, truth, metric))
    names = ["hnswlib", "faiss-hnsw", "usearch"]
    print(f"\n{'':12} {'build s':>20}  " + "  ".join(f"{'queries/s at ' + str(t):>30}" for t in TARGETS))
    for name in ["lookalike", *names]:
        runs = all_ours if name == "lookalike" else [p[name] for p in all_peers]
        speeds = "  ".join(f"{spread([at(run, t) for run in runs]):>30}" for t in TARGETS)
        print(f"{name:12} {spread([run['build_seconds'] for run in runs]):>20}  {speeds}")
    print("\nratios, median (min, max) over rounds")
    for target in TARGETS:
        ratios = [at(o, target) / max(at(p[n], target) for n in names) for o, p in zip(all_ours, all_peers)]
        print(f"queries/s at recall {target}, ours / the best peer: {spread(ratios)}   goal 1.2")
    ratios = [o["build_seconds"] / p["hnswlib"]["build_seconds"] for o, p in zip(all_ours, all_peers)]
    print(f"build, ours / hnswlib:                        {spread(ratios)}   goal at most 1.0")
    ratios = [o["exact"] / p["exact"] for o, p in zip(all_ours, all_peers)]
    print(f"exact search, ours / faiss IndexFlatIP:       {spread(ratios)}   goal 1.5")
    print("\nrecall and speed, last round")
    for name in ["lookalike", *names]:
        run = all_ours[-1] if name == "lookalike" else all_peers[-1][name]
        print(f"{name:12} " + ", ".join(f"{r['ef']}: {r['recall@10']:.4f} {r['qps']:.0f}" for r in run["rows"] if "ef" in r))


main()
