"""DuckDB's side of `cargo xtask bench duckdb`: query 18 and the sort of lineitem, within a memory limit.

    bench_duckdb.py load DIRECTORY SCALE             generates the tables and loads them into a database there
    bench_duckdb.py run DIRECTORY JOB MIB THREADS    runs one job once, in this process; prints one line of JSON

The tables are made by the generator that `mempool tpch` uses, and are loaded without a memory limit; that is not measured.
"""

import json
import os
import pathlib
import subprocess
import sys
import threading
import time

import duckdb

TABLES = ("customer", "orders", "lineitem")

JOBS = {
    "q18": """
        SELECT c_name, c_custkey, o_orderkey, o_orderdate, o_totalprice, sum(l_quantity)
        FROM customer, orders, lineitem
        WHERE o_orderkey IN (SELECT l_orderkey FROM lineitem GROUP BY l_orderkey HAVING sum(l_quantity) > 300)
          AND c_custkey = o_custkey AND o_orderkey = l_orderkey
        GROUP BY c_name, c_custkey, o_orderkey, o_orderdate, o_totalprice
        ORDER BY o_totalprice DESC, o_orderdate LIMIT 100""",
    "sort": "CREATE TABLE sorted AS SELECT * FROM lineitem ORDER BY l_shipdate, l_orderkey",
}


def load(directory: pathlib.Path, scale: str) -> None:
    generator = pathlib.Path(sys.executable).with_name("tpchgen-cli")
    tables = ",".join(TABLES)
    subprocess.run([generator, "parquet", "-s", scale, f"--tables={tables}", f"--output-dir={directory}"],
                   check=True, stdout=subprocess.DEVNULL)
    with duckdb.connect(str(directory / "tables.db")) as database:
        for table in TABLES:
            file = directory / f"{table}.parquet"
            database.execute(f"CREATE TABLE {table} AS SELECT * FROM '{file}'")
            file.unlink()


class Sampler(threading.Thread):
    """The most anonymous and shared memory that this process has had, looked at every 5 ms."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak_bytes = 0
        self.ended = threading.Event()

    def run(self) -> None:
        while True:
            fields = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
            now = sum(int(fields[name].split()[0]) for name in ("RssAnon", "RssShmem"))
            self.peak_bytes = max(self.peak_bytes, now << 10)
            if self.ended.wait(0.005):
                return


def run(directory: pathlib.Path, job: str, mib: str, threads: str) -> dict:
    with duckdb.connect(str(directory / "tables.db")) as database:
        database.execute(f"SET memory_limit = '{mib}MiB'")
        database.execute(f"SET threads = {threads}")
        database.execute(f"SET temp_directory = '{directory / 'spilled'}'")
        database.execute("SET preserve_insertion_order = false" if job == "q18" else "DROP TABLE IF EXISTS sorted")
        sampler = Sampler()
        sampler.start()
        start = time.perf_counter()
        found = {"version": duckdb.__version__}
        try:
            found["rows"] = len(database.execute(JOBS[job]).fetchall())
            if job == "sort":
                found["rows"] = database.execute("SELECT count(*) FROM sorted").fetchone()[0]
        except duckdb.Error as error:
            found["error"] = str(error).splitlines()[0]
        found["seconds"] = time.perf_counter() - start
        sampler.ended.set()
        sampler.join()
        found["peak_bytes"] = sampler.peak_bytes
        return found


def main() -> None:
    command, directory, *rest = sys.argv[1:]
    directory = pathlib.Path(directory)
    if command == "load":
        load(directory, *rest)
    else:
        print(json.dumps(run(directory, *rest)))


main()
