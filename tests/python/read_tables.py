"""Reads a bucket's Delta tables with other people's readers.

    read_tables.py BUCKET [TABLE.COLUMN]

BUCKET is a folder that has tables/<table>, or s3://name/prefix; then the
environment has AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and
AWS_REGION. Prints, as JSON, how many rows each reader finds of each tenant, and
how many distinct values of the column:

    {"deltalake": {"syscalls": {"acme": 50}}, "duckdb": {"syscalls": {"acme": 50}},
     "distinct": {"deltalake": 50, "duckdb": 50}}

DuckDB's own extensions for Delta and S3 are downloads that tests cannot rely on,
so it is given the files that deltalake lists, with their partition columns in the
paths; those of S3 are copied to a folder first.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import duckdb
from deltalake import DeltaTable, QueryBuilder

QUERY = "SELECT tenant, count(*) AS n FROM {rows} GROUP BY tenant"
DISTINCT = "SELECT count(DISTINCT {column}) AS n FROM {rows}"
PARQUET = "read_parquet($files, hive_partitioning = true, hive_types_autocast = false)"


class Folder:
    """A bucket that is a folder."""

    def __init__(self, bucket):
        self.tables = Path(bucket) / "tables"

    def names(self):
        """The tables there are."""
        return sorted(f.name for f in self.tables.iterdir() if (f / "_delta_log").is_dir())

    def table(self, name):
        """A table as deltalake opens it."""
        return DeltaTable(str(self.tables / name))

    def local(self, uri):
        """A data file as a path."""
        return uri.removeprefix("file://")


class S3:
    """A bucket of an S3 service."""

    def __init__(self, bucket):
        from pyarrow import fs

        self.url = f"{bucket}/tables"
        endpoint = os.environ["AWS_ENDPOINT_URL"]
        scheme, address = endpoint.split("://")
        self.files = fs.S3FileSystem(
            endpoint_override=address,
            scheme=scheme,
            access_key=os.environ["AWS_ACCESS_KEY_ID"],
            secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
            region=os.environ["AWS_REGION"],
        )
        self.copies = tempfile.TemporaryDirectory()

    def names(self):
        """The tables there are."""
        from pyarrow.fs import FileSelector

        found = self.files.get_file_info(FileSelector(self.url.removeprefix("s3://")))
        return sorted(f.base_name for f in found)

    def table(self, name):
        """A table as deltalake opens it; options come from the environment."""
        return DeltaTable(f"{self.url}/{name}")

    def local(self, uri):
        """A data file as a path, copied."""
        path = Path(self.copies.name) / uri.removeprefix("s3://")
        path.parent.mkdir(parents=True, exist_ok=True)
        with self.files.open_input_stream(uri.removeprefix("s3://")) as source:
            path.write_bytes(source.read())
        return str(path)


def counted(pairs):
    """A mapping of tenants to numbers of rows."""
    return {tenant: rows for tenant, rows in sorted(pairs)}


def by_deltalake(table, query):
    """What deltalake's own engine answers, as rows."""
    answer = QueryBuilder().register("t", table).execute(query.format(rows="t")).read_all()
    return list(zip(*(answer[name].to_pylist() for name in answer.schema.names)))


def by_duckdb(bucket, table, query):
    """What DuckDB answers over the table's files, as rows."""
    files = [bucket.local(uri) for uri in table.file_uris()]
    if not files:
        return []
    return duckdb.execute(query.format(rows=PARQUET), {"files": files}).fetchall()


def main():
    bucket = (S3 if sys.argv[1].startswith("s3://") else Folder)(sys.argv[1])
    report = {"deltalake": {}, "duckdb": {}, "distinct": {}}
    for name in bucket.names():
        table = bucket.table(name)
        report["deltalake"][name] = counted(by_deltalake(table, QUERY))
        report["duckdb"][name] = counted(by_duckdb(bucket, table, QUERY))
    if len(sys.argv) > 2:
        name, column = sys.argv[2].split(".")
        table, query = bucket.table(name), DISTINCT.replace("{column}", column)
        report["distinct"]["deltalake"] = by_deltalake(table, query)[0][0]
        report["distinct"]["duckdb"] = by_duckdb(bucket, table, query)[0][0]
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
