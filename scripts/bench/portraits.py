#!/usr/bin/env python3
"""Measures `lookalike profile` beside DuckDB: the same aggregates of the same Parquet file on the same threads.

    python3 scripts/bench/portraits.py BINARY FOLDER [EVENTS] [ROUNDS]

A seeded project of EVENTS made-up purchases (10,000,000 if not said; 3 rounds) is made in FOLDER and ingested once; a
later call with the same FOLDER and EVENTS finds it there. Then the two take turns. Either reads the store's
`events.parquet` and `items.parquet` and leaves a Parquet file of one row a user; Lookalike writes its long table beside
it. The figures are compared: counts, days and names must be the same, sums and what is made of them to 1e-9.
Needs `duckdb`, `numpy` and `pyarrow`.
"""

import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

THREADS = 2
AS_OF = "2026-01-01"
FIRST = "2024-01-01"
DAYS = 731
CHUNK = 5_000_000
ITEMS, BRANDS, DEPARTMENTS, CATEGORIES, CHANNELS = 50_000, 800, 20, 300, 12

# Every aggregate twice: as the tag that Lookalike computes and as the column that DuckDB computes. In SQL `ago` is the
# number of whole days from the event to the day of the profile, as `days_ago` is in a tag; a window of `30d` is
# `ago <= 30 and ago > 0`. All events are before that day, and a `where` that nothing fulfils gives no value on either
# side: a tag says nothing, SQL says null (`nullif` where it would say 0). Days are counted in a bit each, which takes
# DuckDB three quarters of the time of `count(distinct ago)`.
AGGREGATES = [
    ("lines", 'kind = "metric"\nof = "count"', "count(*)"),
    ("lines_30d", 'kind = "metric"\nof = "count"\nwindow = "30d"', "nullif(count(*) filter (ago <= 30), 0)"),
    ("spend", 'kind = "metric"\nof = "sum(value)"', "sum(value)"),
    ("spend_30d", 'kind = "metric"\nof = "sum(value)"\nwindow = "30d"', "sum(value) filter (ago <= 30)"),
    ("spend_90d", 'kind = "metric"\nof = "sum(value)"\nwindow = "90d"', "sum(value) filter (ago <= 90)"),
    ("line", 'kind = "metric"\nof = "mean(value)"', "avg(value)"),
    ("least", 'kind = "metric"\nof = "min(value)"', "min(value)"),
    ("largest", 'kind = "metric"\nof = "max(value)"', "max(value)"),
    ("pieces", 'kind = "metric"\nof = "sum(quantity)"', "sum(quantity)"),
    ("days", 'kind = "metric"\nof = "distinct(day)"', "bit_count(bitstring_agg(ago::int, 0, 1000))"),
    ("recency", 'kind = "metric"\nof = "recency"', "min(ago)"),
    ("age", 'kind = "metric"\nof = "age"', "max(ago)"),
    ("first_channel", 'kind = "first-last"\nof = "first(channel)"', "arg_min(channel, \"at\")"),
    ("last_channel", 'kind = "first-last"\nof = "last(channel)"', "arg_max(channel, \"at\")"),
    ("discounted", 'kind = "metric"\nof = "share(discount > 0)"', "avg((discount > 0)::int)"),
    ("discount", 'kind = "metric"\nof = "ratio(discount, value + discount)"',
     "sum(discount) / sum(value + discount)"),
]
# The three departments in which a user spent most, ties by name. With a prior of 0 a share is not smoothed.
PREFERENCE = ("departments", 'kind = "preference"\nby = "category_1"\nweight = "value"\ntop = 3\nrank = "share"\nprior = 0')
PREFERENCE_SQL = """
    select "user", list(department order by spent desc, department) as departments from (
        select "user", department, spent,
            row_number() over (partition by "user" order by spent desc, department) as place
        from (select "user", category[1] as department, sum(value) as spent
              from events join read_parquet('{items}') using (item) group by all))
    where place <= 3 group by "user"
"""
EXACT = {"lines", "lines_30d", "days", "recency", "age", "least", "largest", "first_channel", "last_channel"}

TOML = """[project]
name = "portraits"
timezone = "UTC"

[sources.events]
path = "events-*.parquet"
table = "events"
kind = "purchase"
at = { column = "at", stored_as = "UTC" }
map = { user = "user", item = "item", value = "value", quantity = "quantity", discount = "discount", channel = "channel" }

[sources.items]
path = "items.parquet"
table = "items"
map = { item = "item", category = ["department", "category"], brand = "brand" }

[interactions]
kinds = { purchase = 1.0 }
split = { kind = "time", test_from = "2025-12-01", validation_days = 28 }
"""


def make(project, events):
    """Writes the sources: users and items by power laws, times in milliseconds so that next to none are the same."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    project.mkdir(parents=True)
    users = max(1, events // 100)
    random = np.random.default_rng(42)

    def names(pattern, count):
        return pa.array([pattern % n for n in range(count)])

    def text(codes, named):
        return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), named)

    def power(count, n):  # the share of the first x of n is the square root of x / n
        return (random.random(count) ** 2 * n).astype(np.int64)

    # Ids say nothing of how much is bought: numbers are mixed.
    user_order, item_order = random.permutation(users), random.permutation(ITEMS)
    named = {"user": names("u%08d", users), "item": names("i%06d", ITEMS), "channel": names("shop-%02d", CHANNELS)}
    start = int(np.datetime64(FIRST, "ms").astype(np.int64))
    for number, begin in enumerate(range(0, events, CHUNK)):
        count = min(CHUNK, events - begin)
        value = np.round(np.exp(random.normal(1.5, 1.0, count)) + 0.01, 2)
        reduced = random.random(count) < 0.3
        at = start + (random.random(count) * DAYS * 86_400_000).astype(np.int64)
        table = pa.table({
            "user": text(user_order[power(count, users)], named["user"]),
            "item": text(item_order[power(count, ITEMS)], named["item"]),
            "at": pa.array(at, pa.timestamp("ms")),
            "value": value,
            "quantity": random.geometric(0.7, count).astype(np.float64),
            "discount": np.where(reduced, np.round(value * 0.2, 2), 0.0),
            "channel": text(power(count, CHANNELS), named["channel"]),
        })
        # Without pyarrow's own schema text is text to every reader.
        pq.write_table(table, project / f"events-{number:03d}.parquet", compression="lz4", store_schema=False)
    category = random.integers(0, CATEGORIES, ITEMS)
    items = pa.table({
        "item": named["item"],
        "department": pa.array([f"department {code % DEPARTMENTS:02d}" for code in category]),
        "category": pa.array([f"category {code:03d}" for code in category]),
        "brand": pa.array([f"brand {code:03d}" for code in power(ITEMS, BRANDS)]),
    })
    pq.write_table(items, project / "items.parquet", store_schema=False)
    (project / "lookalike.toml").write_text(TOML)


def declare(project):
    """Writes the tags, and switches everything off that ships with the program."""
    catalogue = Path(__file__).resolve().parents[2] / "crates" / "portrait" / "catalogue"
    tags = project / "tags"
    for path in catalogue.rglob("*.toml"):
        lines = path.read_text().splitlines()
        sections = [line for line in lines if line.startswith("[") and "." not in line]
        own = tags / path.relative_to(catalogue)
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_text("\n".join(f'{section}\nkind = "off"' for section in sections) + "\n")
    declared = [f"[{name}]\n{tag}\n" for name, tag, _ in AGGREGATES] + [f"[{PREFERENCE[0]}]\n{PREFERENCE[1]}\n"]
    (tags / "bench.toml").write_text("\n".join(declared))


def query(project):
    store = project / "store"
    columns = ",\n    ".join(f"{sql} as {name}" for name, _, sql in AGGREGATES)
    return f"""
with events as (
    select *, date_diff('day', "at"::date, date '{AS_OF}') as ago
    from read_parquet('{store}/events.parquet') where "at" < timestamptz '{AS_OF} 00:00:00+00' and kind = 'purchase'),
figures as (select "user", {columns} from events group by "user"),
preferred as ({PREFERENCE_SQL.format(items=store / "items.parquet")})
select * from figures left join preferred using ("user")
"""


def duck(project, target):
    """What the other process runs."""
    import duckdb

    base = duckdb.connect(config={"threads": THREADS})
    base.execute("set TimeZone = 'UTC'")
    base.execute("set preserve_insertion_order = false")
    base.execute(f"set temp_directory = '{target.parent / 'duckdb.tmp'}'")
    base.execute(f"copy ({query(project)}) to '{target}' (format parquet, compression zstd)")


def timed(command):
    """Seconds, seconds on the CPUs and peak memory in GB of a command."""
    started = time.perf_counter()
    process = subprocess.Popen([str(part) for part in command], stdout=subprocess.DEVNULL, env=ENVIRONMENT)
    _, status, used = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        sys.exit(f"{command[0]} failed: {status}")
    return seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1e6


def compare(ours, theirs):
    """Stops at the first column in which the two say different things of a user."""
    import duckdb

    base = duckdb.connect(config={"threads": THREADS})
    base.execute(f"create view a as select * from read_parquet('{ours}')")
    base.execute(f"create view b as select * from read_parquet('{theirs}')")
    (users, more), = base.execute("select count(b.user), count(*) - count(b.user) from a left join b using (user)").fetchall()
    (known,), = base.execute("select count(*) from b").fetchall()
    if more or users != known:
        sys.exit(f"{users + more} users here, {known} there")
    for name in [name for name, _, _ in AGGREGATES] + [PREFERENCE[0]]:
        here, there = f'a."bench/{name}"', f"b.{name}"
        if name in EXACT or name == PREFERENCE[0]:
            other = f"{here} is distinct from {there}"
        else:
            other = f"({here} is null) <> ({there} is null) or abs({here} - {there}) > 1e-9 * greatest(1, abs({there}))"
        (wrong, whose), = base.execute(f"select count(*), any_value(user) from a join b using (user) where {other}").fetchall()
        # Two departments with the same spend to the last cent may differ in the last bit of a sum.
        if wrong > (0 if name != PREFERENCE[0] else users / 1000):
            sys.exit(f"{name}: {wrong} of {users} users differ, for example {whose}")
        print(f"  {name}: {users - wrong} of {users} users agree")


def main(binary, folder, events, rounds):
    import duckdb

    project = folder / f"portraits-{events}"
    if not (project / "lookalike.toml").exists():
        # In a process of its own: what a program is said to have needed at most begins with what its parent has.
        subprocess.run([sys.executable, __file__, "--make", project, str(events)], check=True)
    declare(project)
    cpu = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    version = subprocess.run([binary, "--version"], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    print(f"machine: {cpu[0] if cpu else platform.machine()}, {os.cpu_count()} cores, {platform.release()}")
    print(f"load:    {os.getloadavg()[0]:.1f} before the first run")
    print(f"program: {version}; duckdb {duckdb.__version__}, Python {platform.python_version()}; {THREADS} threads")
    if not (project / "store" / "store.json").exists():
        seconds, cpu, memory = timed([binary, "ingest", "--project", project, "--quiet"])
        print(f"ingest:  {seconds:.1f} s, {cpu:.1f} s of CPU, {memory:.2f} GB")
    size = (project / "store" / "events.parquet").stat().st_size / 1e9
    print(f"events:  {events:,}, {size:.2f} GB in the store")
    wide, theirs = project / "profiles" / AS_OF / "wide.parquet", folder / f"duckdb-{events}.parquet"
    profile = [binary, "profile", "--anew", "--as-of", AS_OF, "--project", project, "--quiet"]
    pairs = []
    for number in range(rounds):
        pair = timed(profile), timed([sys.executable, __file__, "--duckdb", project, theirs])
        pairs.append(pair)
        (a, a_cpu, a_memory), (b, b_cpu, b_memory) = pair
        print(f"round {number + 1}: lookalike {a:.1f} s ({a_cpu:.1f} s of CPU, {a_memory:.2f} GB), "
              f"duckdb {b:.1f} s ({b_cpu:.1f} s of CPU, {b_memory:.2f} GB), ratio {a / b:.2f}; "
              f"load {os.getloadavg()[0]:.1f}", flush=True)
    compare(wide, theirs)
    ratios = sorted(ours[0] / theirs[0] for ours, theirs in pairs)
    cpu = sorted(ours[1] / theirs[1] for ours, theirs in pairs)
    print(f"ratio of wall time: {ratios[0]:.2f} least, {statistics.median(ratios):.2f} median, {ratios[-1]:.2f} most")
    print(f"ratio of CPU time:  {cpu[0]:.2f} least, {statistics.median(cpu):.2f} median, {cpu[-1]:.2f} most")
    print(f"peak memory: lookalike {max(ours[2] for ours, _ in pairs):.2f} GB, "
          f"duckdb {max(theirs[2] for _, theirs in pairs):.2f} GB")


ENVIRONMENT = {**os.environ, "RAYON_NUM_THREADS": str(THREADS)}

if __name__ == "__main__":
    if len(sys.argv) == 4 and sys.argv[1] == "--duckdb":
        duck(Path(sys.argv[2]), Path(sys.argv[3]))
    elif len(sys.argv) == 4 and sys.argv[1] == "--make":
        make(Path(sys.argv[2]), int(sys.argv[3]))
    elif 3 <= len(sys.argv) <= 5:
        main(Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve(), *(
            [int(text.replace("_", "")) for text in sys.argv[3:]] + [10_000_000, 3][len(sys.argv) - 3:]))
    else:
        sys.exit(__doc__)
