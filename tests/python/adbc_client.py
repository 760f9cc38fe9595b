"""Flight SQL through ADBC's own driver, as a person in Python uses it.

Arguments: the server's URI, a token of a tenant, a token of somebody else, and the
certificate to trust if the URI says TLS. Ends with an assertion that fails, or
prints what it has seen as JSON.
"""

import datetime
import decimal
import json
import sys
import threading
import warnings

import adbc_driver_flightsql
import adbc_driver_flightsql.dbapi as flight
import adbc_driver_manager
import pyarrow as pa

URI, TOKEN, OTHER = sys.argv[1:4]
OPTIONS = adbc_driver_flightsql.DatabaseOptions
TRUST = {}
if len(sys.argv) > 4:
    with open(sys.argv[4]) as file:
        TRUST = {OPTIONS.TLS_ROOT_CERTS.value: file.read()}


def bearer(token=TOKEN, **kwargs):
    options = {OPTIONS.AUTHORIZATION_HEADER.value: f"Bearer {token}", **TRUST}
    return flight.connect(URI, db_kwargs=options, autocommit=True, **kwargs)


def password(token=TOKEN):
    return flight.connect(URI, db_kwargs={"username": "anybody", "password": token, **TRUST}, autocommit=True)


def fails(work, *parts):
    try:
        work()
    except adbc_driver_manager.Error as error:
        text = str(error)
        for part in parts:
            assert part in text, (part, text)
        return text
    raise AssertionError("it did not fail")


def rows(connection, sql, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


def logs_in_both_ways():
    for connect in (bearer, password):
        with connect() as connection:
            assert rows(connection, "SELECT 1 AS one") == [(1,)]
    fails(lambda: rows(bearer("bwk_nobody_nothing"), "SELECT 1"), "UNAUTHENTICATED")
    fails(lambda: rows(password("bwk_nobody_nothing"), "SELECT 1"), "UNAUTHENTICATED")


def without_autocommit_it_warns_and_works():
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        options = {OPTIONS.AUTHORIZATION_HEADER.value: f"Bearer {TOKEN}", **TRUST}
        with flight.connect(URI, db_kwargs=options) as connection:
            assert rows(connection, "SELECT 2") == [(2,)]
    assert any("autocommit" in str(warning.message) for warning in caught), caught


def types_come_as_they_are():
    sql = """SELECT CAST(7 AS SMALLINT), CAST(8 AS INT), CAST(9 AS BIGINT), 0.5::double, 'x', true, NULL,
        arrow_cast('2026-11-24T12:00:00Z', 'Timestamp(Nanosecond, Some("UTC"))'), DATE '2026-11-24', CAST(1.25 AS DECIMAL(10, 2)),
        [1, 2], named_struct('a', 1, 'b', 'y'), x'00ff', row_number() OVER ()"""
    with bearer() as connection:
        found = rows(connection, sql)[0]
    noon = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.timezone.utc)
    assert found[:7] == (7, 8, 9, 0.5, "x", True, None), found
    assert found[7] == noon, found
    assert found[8:10] == (datetime.date(2026, 11, 24), decimal.Decimal("1.25")), found
    assert found[10:] == ([1, 2], {"a": 1, "b": "y"}, b"\x00\xff", 1), found


def metadata_is_there():
    with bearer() as connection:
        info = connection.adbc_get_info()
        assert info["vendor_name"] == "Bailiwick", info
        objects = connection.adbc_get_objects(depth="all", db_schema_filter="public").read_all().to_pylist()
        assert [catalog["catalog_name"] for catalog in objects] == ["bailiwick"], objects
        schemas = objects[0]["catalog_db_schemas"]
        assert [schema["db_schema_name"] for schema in schemas] == ["public"], schemas
        tables = {table["table_name"]: table for table in schemas[0]["db_schema_tables"]}
        assert {"syscalls", "api_access", "usage", "alerts", "losses", "queries"} <= set(tables), list(tables)
        assert tables["losses"]["table_type"] == "TABLE"
        columns = [column["column_name"] for column in tables["losses"]["table_columns"]]
        assert "reason" in columns and "count" in columns, columns
        schema = connection.adbc_get_table_schema("losses")
        assert schema.field("count").type == pa.int64() and schema.field("reason").type == pa.string()
        assert schema.field("time").type == pa.timestamp("us", tz="UTC")
        assert connection.adbc_get_table_schema("losses", db_schema_filter="public") == schema
        assert "TABLE" in connection.adbc_get_table_types()
        fails(lambda: connection.adbc_get_table_schema("nothing"), "NOT_FOUND")
        assert connection.adbc_current_catalog == "bailiwick"
        assert connection.adbc_current_db_schema == "public"
        tables = rows(connection, "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'")
        assert ("losses",) in tables
        every = connection.adbc_get_objects(depth="all").read_all()
        assert every.num_rows == 1
        return schema.names


def parameters_are_bound():
    with bearer() as connection:
        sql = "SELECT value FROM generate_series(1, 10) WHERE value > {} AND value % {} = 0 ORDER BY 1"
        for one, two in (("$1", "$2"), ("?", "?")):
            assert rows(connection, sql.format(one, two), (4, 3)) == [(6,), (9,)]
        assert rows(connection, "SELECT $1::text || '!', $2::double, $3::boolean", ("x", 0.5, None)) == [("x!", 0.5, None)]
        moment = datetime.datetime(2026, 11, 24, 12, tzinfo=datetime.timezone.utc)
        assert rows(connection, "SELECT $1", (moment,)) == [(moment,)]
        with connection.cursor() as cursor:
            schema = cursor.adbc_prepare("SELECT count FROM losses WHERE reason = $1 AND count > $2")
            assert [field.type for field in schema] == [pa.string(), pa.int64()], schema
            for number in (5, 6):
                cursor.execute("SELECT $1 + 1", (number,))
                assert cursor.fetchone() == (number + 1,)
            assert cursor.adbc_execute_schema("SELECT count FROM losses").names == ["count"]
        fails(lambda: rows(connection, "SELECT $1 + $2", (1,)), "INVALID_ARGUMENT")
        with connection.cursor() as cursor:
            two = pa.record_batch({"0": [1, 2]})
            fails(lambda: cursor.execute("SELECT $1", two), "NOT_IMPLEMENTED", "one row of values")


def big_results_come_whole():
    with bearer() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT value, 'row ' || value AS text FROM generate_series(1, 1000000)")
        table = cursor.fetch_arrow_table()
        assert table.num_rows == 1_000_000
        table = table.sort_by("value")
        assert table.column("value")[-1].as_py() == 1_000_000 and table.column("text")[99].as_py() == "row 100"


def cancelling_ends_the_query():
    with bearer() as connection:
        with connection.cursor() as cursor:
            cursor.execute("SELECT value FROM generate_series(1, 9000000000)")
            reader = cursor.fetch_record_batch()
            reader.read_next_batch()
            timer = threading.Timer(0.2, cursor.adbc_cancel)
            timer.start()
            try:
                for _ in reader:
                    pass
                raise AssertionError("the query went on")
            except (adbc_driver_manager.Error, pa.ArrowException, OSError) as error:
                assert "ancel" in str(error), error
        assert rows(connection, "SELECT 3") == [(3,)], "the connection is of no use any more"


def errors_say_what_and_which_query():
    with bearer() as connection:
        fails(lambda: rows(connection, "SELEC 1"), "INVALID_ARGUMENT", "[syntax]", "(query ")
        fails(lambda: rows(connection, "SELECT nope FROM losses"), "nope", "[invalid_query]")
        fails(lambda: rows(connection, "DROP TABLE losses"), "not allowed", "[not_allowed]")
        fails(lambda: rows(connection, "SELECT * FROM '/etc/passwd'"), "INVALID_ARGUMENT")
        with connection.cursor() as cursor:
            data = pa.table({"a": [1]})
            fails(lambda: cursor.adbc_ingest("losses", data, mode="append"), "not allowed")
        with connection.cursor() as cursor:
            cursor.adbc_statement.set_sql_query("INSERT INTO losses VALUES (1)")
            fails(cursor.adbc_statement.execute_update, "not allowed")


def partitions_are_their_askers_alone():
    with bearer() as connection, connection.cursor() as cursor:
        partitions, _ = cursor.adbc_execute_partitions("SELECT 4 AS four")
        cursor.adbc_read_partition(partitions[0])
        assert cursor.fetchall() == [(4,)]
    with bearer(OTHER) as connection, connection.cursor() as cursor:
        fails(lambda: cursor.adbc_read_partition(partitions[0]), "yours")


logs_in_both_ways()
without_autocommit_it_warns_and_works()
types_come_as_they_are()
columns = metadata_is_there()
parameters_are_bound()
big_results_come_whole()
cancelling_ends_the_query()
errors_say_what_and_which_query()
partitions_are_their_askers_alone()
print(json.dumps({"columns_of_losses": columns}))
