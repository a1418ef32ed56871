#!/usr/bin/env python3
"""Makes a project of the Last.fm data of HetRec 2011 in which every fifth user is cold.

    scripts/lastfm/prepare.py DATA DIR

DATA is a folder with user_artists.parquet, user_friends.parquet and artists.parquet, the tables of
https://grouplens.org/datasets/hetrec-2011/ with their columns as they are. Their licence (non-commercial use, no copies)
keeps them out of this repository. DIR becomes a project for `lookalike train` and `lookalike evaluate`.

The users at positions 0, 5, 10, ... in rising order of their ids lose all their plays, which are the test part. Of the
plays of the others one in ten, drawn by a seed, is the validation part; the final model learns from all of them. The
friends of everybody are known. Needs pyarrow alone; the same arguments give the same files.
"""

import argparse
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

SEED, DRAWN = 1, 0.1

PROJECT = """\
# Last.fm (HetRec 2011) with every fifth user cold, made by scripts/lastfm/prepare.py.

[project]
name = "lastfm-cold"
timezone = "UTC"

[sources.listeners]
path = "users.parquet"
table = "users"
map = { user = "user" }

[sources.artists]
path = "artists.parquet"
table = "items"
map = { item = "item", title = "title" }

# Each friendship stands here once in either direction.
[sources.friends]
path = "friends.parquet"
table = "edges"
kind = "friend"
map = { from = "from", to = "to" }

[interactions]
split = { kind = "given", train = "train.parquet", validation = "validation.parquet", test = "test.parquet" }
"""


def main():
    about = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    about.add_argument("data", type=Path, metavar="DATA")
    about.add_argument("dir", type=Path, metavar="DIR")
    args = about.parse_args()
    plays = pq.read_table(args.data / "user_artists.parquet").to_pydict()
    friends = pq.read_table(args.data / "user_friends.parquet").to_pydict()
    artists = pq.read_table(args.data / "artists.parquet").to_pydict()
    users = sorted(set(plays["userID"]))
    cold = set(users[::5])
    draw = random.Random(SEED)
    parts = {"train": [], "validation": [], "test": []}
    for user, item, weight in sorted(zip(plays["userID"], plays["artistID"], plays["weight"])):
        if user in cold:
            parts["test"].append((user, item, weight))
        else:
            parts["validation" if draw.random() < DRAWN else "train"].append((user, item, weight))
    args.dir.mkdir(parents=True, exist_ok=True)

    def write(name, **columns):
        pq.write_table(pa.table(columns), args.dir / f"{name}.parquet")

    for name, rows in parts.items():
        user, item, weight = zip(*rows)
        write(name, user=user, item=item, weight=[float(number) for number in weight])
    write("users", user=users)
    write("friends", **{"from": friends["userID"], "to": friends["friendID"]})
    write("artists", item=artists["id"], title=artists["name"])
    (args.dir / "lookalike.toml").write_text(PROJECT)
    counts = ", ".join(f"{len(rows):,} {name}" for name, rows in parts.items())
    print(f"{len(users):,} users, of whom {len(cold):,} are cold; plays: {counts}")


if __name__ == "__main__":
    main()
