#!/usr/bin/env python3
"""Makes a project of the bundled purchases in which a fifth of the households with attributes are cold.

    scripts/cold/prepare.py datasets/complete-journey DIR [--seed N] [--down]

A fifth of the households of whom attributes are known, drawn by the seed, lose all they bought before the test part; what
they bought in it is left. With `--down` nothing of the test part is there, and the 28 days before it take its place: so
settings can be chosen without a look at it. Needs pyarrow alone; the same arguments give the same files.
"""

import argparse
import random
import shutil
from datetime import datetime, timezone
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

TEST, BEFORE = "2017-11-27", "2017-10-30"


def main():
    about = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    about.add_argument("data", type=Path, metavar="DATA")
    about.add_argument("dir", type=Path, metavar="DIR")
    about.add_argument("--seed", type=int, default=1)
    about.add_argument("--down", action="store_true")
    args = about.parse_args()
    args.dir.mkdir(parents=True, exist_ok=True)
    for path in [args.data / "lookalike.toml", *args.data.glob("*.parquet")]:
        shutil.copy(path, args.dir / path.name)
    lines = pq.read_table(args.data / "transactions.parquet")
    stamps = lines["transaction_timestamp"]

    def before(day):
        midnight = datetime.fromisoformat(day).replace(tzinfo=ZoneInfo("America/New_York")).astimezone(timezone.utc)
        return pc.less(stamps, pa.scalar(midnight.replace(tzinfo=None)).cast(stamps.type))

    cut = BEFORE if args.down else TEST
    households = sorted(set(pq.read_table(args.data / "demographics.parquet")["household_id"].to_pylist()), key=str)
    cold = random.Random(args.seed).sample(households, len(households) // 5)
    theirs = pc.is_in(lines["household_id"], value_set=pa.array(cold).cast(lines["household_id"].type))
    keep = pc.invert(pc.and_(theirs, before(cut)))
    if args.down:
        keep = pc.and_(keep, before(TEST))
        project = args.dir / "lookalike.toml"
        project.write_text(project.read_text().replace(TEST, BEFORE))
    pq.write_table(lines.filter(keep), args.dir / "transactions.parquet")
    print(f"{len(cold)} of {len(households)} households with attributes have no history before {cut}")


if __name__ == "__main__":
    main()
