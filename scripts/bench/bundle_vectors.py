"""Takes vectors out of a bundle for `ann.py`: all items as base.npy, and 1,000 users as query.npy.

    python3 scripts/bench/bundle_vectors.py BUNDLE FOLDER
"""
import os, sys

import numpy as np
from safetensors.numpy import load_file

tensors = load_file(f"{sys.argv[1]}/model.safetensors")
os.makedirs(sys.argv[2], exist_ok=True)
users = tensors["user.embedding"]
chosen = np.random.default_rng(0).choice(len(users), min(1000, len(users)), replace=False)
np.save(f"{sys.argv[2]}/base.npy", np.ascontiguousarray(tensors["item.embedding"]))
np.save(f"{sys.argv[2]}/query.npy", np.ascontiguousarray(users[np.sort(chosen)]))
