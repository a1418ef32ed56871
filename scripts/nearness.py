#!/usr/bin/env python3
"""Whether tags of kind `nearness` say who buys what later, on the bundled project.

    scripts/nearness.py LOOKALIKE PROJECT DEPARTMENT...

PROJECT is a copy of datasets/complete-journey with a run `runs/ials`. For each department this makes a tag of how near households
are to its products, profiles them as of the day on which the test part begins, and prints which share of the tenth that is
nearest buys there from that day on, beside all households, beside the tenth that spent the largest share of their money there
before, and the same among households that had bought nothing there. Needs pyarrow alone.
"""

import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pyarrow.parquet as pq

DAY = "2017-11-27"


def main():
    program, project, departments = sys.argv[1], Path(sys.argv[2]), sys.argv[3:]

    def lookalike(*args):
        subprocess.run([program, *args, "--project", str(project), "--quiet"], check=True, stdout=subprocess.DEVNULL)

    names = [f"near/{''.join(c if c.isalnum() else '_' for c in department.lower())}/items" for department in departments]
    for name, department in zip(names, departments):
        if not (project / "tags" / name).parent.with_suffix(".toml").exists():
            condition = f"category = '{department}' OR category LIKE '{department} > %'"
            lookalike("segment", "fit", name, "--run", "runs/ials", "--items", condition)
    lookalike("profile", "--as-of", DAY)
    wide = pq.read_table(project / "profiles" / DAY / "wide.parquet")
    users = wide["user"].to_pylist()
    products = pq.read_table(project / "products.parquet", columns=["product_id", "department"]).to_pydict()
    department_of = dict(zip(map(str, products["product_id"]), products["department"]))
    lines = pq.read_table(project / "transactions.parquet").to_pydict()
    spent, later = defaultdict(lambda: defaultdict(float)), defaultdict(set)
    for user, item, stamp, value, quantity in zip(
        lines["household_id"], lines["product_id"], lines["transaction_timestamp"], lines["sales_value"], lines["quantity"]
    ):
        if quantity <= 0:
            continue
        department = department_of.get(str(item))
        # Midnight in New York is five hours into the day of the stamps.
        if str(stamp)[:13] >= DAY + " 05":
            later[department].add(str(user))
        else:
            spent[str(user)][department] += value
    print(f"{'department':22} households  nearest  lift  largest share  lift |  without any  nearest  lift")
    for name, department in zip(names, departments):
        near = dict(zip(users, wide[name].to_pylist()))
        known = [user for user in users if near[user] is not None]
        share = {user: spent[user][department] / max(sum(spent[user].values()), 1e-9) for user in known}

        def bought(some):
            return sum(user in later[department] for user in some) / max(len(some), 1)

        def top(figure, among):
            return sorted(among, key=lambda user: (-figure[user], user))[: len(among) // 10]

        without = [user for user in known if share[user] == 0]
        everybody, nearest, most = bought(known), bought(top(near, known)), bought(top(share, known))
        new, new_near = bought(without), bought(top(near, without))
        print(
            f"{department:22} {everybody:10.3f} {nearest:8.3f} {nearest / everybody:5.2f} {most:14.3f} {most / everybody:5.2f} | "
            f"{len(without):5} {new:6.3f} {new_near:8.3f} {new_near / max(new, 1e-9):5.2f}"
        )


if __name__ == "__main__":
    main()
