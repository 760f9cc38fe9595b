"""Reads a bucket's Delta tables with other people's readers.

    read_tables.py BUCKET

BUCKET is a folder that has tables/<table>. Prints, as JSON, how many rows each
reader finds of each tenant:

    {"deltalake": {"syscalls": {"acme": 50}}, "duckdb": {"syscalls": {"acme": 50}}}

DuckDB's own Delta extension is a download that tests cannot rely on, so it is
given the files that deltalake lists, with their partition columns in the paths.
"""

import json
import sys
from pathlib import Path

import duckdb
from deltalake import DeltaTable, QueryBuilder


def counted(pairs):
    """A mapping of tenants to numbers of rows."""
    return {tenant: rows for tenant, rows in sorted(pairs)}


def by_deltalake(table):
    """Rows of each tenant as deltalake's own engine reads them."""
    query = "SELECT tenant, count(*) AS n FROM t GROUP BY tenant"
    answer = QueryBuilder().register("t", table).execute(query).read_all()
    names, counts = answer["tenant"].to_pylist(), answer["n"].to_pylist()
    return counted(zip(names, counts))


def by_duckdb(table):
    """Rows of each tenant as DuckDB reads the table's files."""
    files = [uri.removeprefix("file://") for uri in table.file_uris()]
    if not files:
        return {}
    query = (
        "SELECT tenant, count(*) FROM read_parquet($files, hive_partitioning = true, "
        "hive_types_autocast = false) GROUP BY tenant"
    )
    return counted(duckdb.execute(query, {"files": files}).fetchall())


def main():
    tables = Path(sys.argv[1]) / "tables"
    report = {"deltalake": {}, "duckdb": {}}
    for folder in sorted(tables.iterdir()):
        if not (folder / "_delta_log").is_dir():
            continue
        table = DeltaTable(str(folder))
        report["deltalake"][folder.name] = by_deltalake(table)
        report["duckdb"][folder.name] = by_duckdb(table)
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
