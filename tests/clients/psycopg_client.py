"""psycopg 3: parameters, binary, prepared, pipeline, transactions, cursors, COPY, cancelling."""

import asyncio
import datetime
import decimal
import threading
import time

import psycopg
from psycopg import sql
from psycopg.types import TypeInfo

from matrix import Report, plain, raises, statements

report = Report()
connection = psycopg.connect(autocommit=True)
NUMBERS = "SELECT value::bigint AS n, 'row ' || value AS label FROM generate_series(1, 1000) AS t(value) ORDER BY 1"
ENDLESS = "SELECT sum(value % 7) FROM generate_series(1, 1000000000000) AS t(value)"

for name, text in statements().items():
    report.answer(name, connection.execute(text).fetchall())
    with connection.cursor(binary=True) as cursor:
        report.answer(name + " in binary", cursor.execute(text).fetchall())


@report.check
def parameters_of_every_type_come_back():
    utc = datetime.timezone.utc
    for cast, value in [
        ("bigint", 7),
        ("bigint", -(2**40)),
        ("integer", 7),
        ("smallint", 7),
        ("text", "é'\"\\ \n"),
        ("double precision", 1.5),
        ("real", 0.5),
        ("boolean", True),
        ("date", datetime.date(2026, 11, 24)),
        ("timestamptz", datetime.datetime(2026, 11, 24, 10, 0, 0, 1, tzinfo=utc)),
        ("timestamp", datetime.datetime(2026, 11, 24, 10, 0, 0, 1)),
        ("numeric(10,2)", decimal.Decimal("12.50")),
        ("bytea", b"\x00\xff"),
        ("text[]", ["a", "b,c", 'd"e']),
        ("bigint[]", [1, 2, 3]),
        ("text", None),
    ]:
        for binary in (False, True):
            with connection.cursor(binary=binary) as cursor:
                for how in ("%s", "%b", "%t"):
                    row = cursor.execute(f"SELECT {how}::{cast}", [value]).fetchone()
                    assert plain(row[0]) == plain(value), f"{how}::{cast}: {row[0]!r} for {value!r}"


@report.check
def parameters_without_a_cast_take_the_columns_type():
    query = "SELECT count(*) FROM generate_series(1, 1000) AS t(n) WHERE n = %s OR n = ANY(%s) OR n BETWEEN %s AND %s"
    assert connection.execute(query, [5, [7, 8], 990, 995]).fetchone() == (9,)
    query = "SELECT count(*) FROM queries WHERE time > %s AND sql <> %s AND sql <> ALL(%s)"
    since = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    assert connection.execute(query, [since, "x", ["y", "z"]]).fetchone()[0] >= 0
    assert connection.execute("SELECT %s AS a, %s AS b", ["x", "y"]).fetchone() == ("x", "y")
    assert connection.execute("SELECT 1 LIMIT %s", [1]).fetchone() == (1,)
    named = connection.execute("SELECT %(n)s::int + %(n)s::int", {"n": 4}).fetchone()
    assert named == (8,)


@report.check
def prepared_statements_are_used_again():
    for number in range(20):
        row = connection.execute("SELECT %s::bigint * 2", [number], prepare=True).fetchone()
        assert row == (number * 2,)
    connection.execute("DEALLOCATE ALL")
    assert connection.execute("SELECT %s::bigint", [1], prepare=True).fetchone() == (1,)


@report.check
def a_pipeline_answers_in_order():
    with connection.pipeline():
        cursors = [connection.execute("SELECT %s::int", [number]) for number in range(50)]
        assert [cursor.fetchone()[0] for cursor in cursors] == list(range(50))


@report.check
def a_pipeline_stops_at_its_error():
    with psycopg.connect(autocommit=True) as other:
        def fails():
            with other.pipeline():
                other.execute("SELECT nope")
                other.execute("SELECT 1")
        raises(fails, "42703", psycopg.Error)
        assert other.execute("SELECT 1").fetchone() == (1,)


@report.check
def transactions_begin_fail_and_nest():
    with psycopg.connect() as other:
        other.execute("SELECT 1")
        assert other.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        other.commit()
        assert other.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
        with other.transaction():
            try:
                with other.transaction("inner"):
                    other.execute("SELECT nope")
            except psycopg.Error:
                pass
            assert other.execute("SELECT 1").fetchone() == (1,)
            with other.transaction():
                assert other.execute("SELECT 2").fetchone() == (2,)
        try:
            other.execute("SELECT nope")
        except psycopg.Error:
            pass
        raises(lambda: other.execute("SELECT 1"), "25P02", psycopg.Error)
        other.rollback()
        assert other.execute("SELECT 3").fetchone() == (3,)
    with psycopg.connect() as other:
        other.read_only = True
        other.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        assert other.execute("SELECT 1").fetchone() == (1,)


@report.check
def a_named_cursor_reads_in_portions():
    for binary in (False, True):
        with psycopg.connect() as other, other.cursor("portions", binary=binary) as cursor:
            cursor.itersize = 64
            cursor.execute(NUMBERS)
            assert [column.name for column in cursor.description] == ["n", "label"]
            assert cursor.fetchone() == (1, "row 1")
            assert cursor.fetchmany(2) == [(2, "row 2"), (3, "row 3")]
            cursor.scroll(7)
            assert cursor.fetchone() == (11, "row 11")
            cursor.scroll(20, mode="absolute")
            assert cursor.fetchone() == (21, "row 21")
            rest = [n for n, _ in cursor]
            assert rest == list(range(22, 1001)), (rest[:3], len(rest))
            assert cursor.fetchall() == []


@report.check
def a_named_cursor_takes_parameters():
    with psycopg.connect() as other, other.cursor("with_parameters") as cursor:
        cursor.execute("SELECT value FROM generate_series(1, 1000) AS t(value) WHERE value > %s ORDER BY 1", [990])
        assert [row[0] for row in cursor] == list(range(991, 1001))
        cursor.execute("SELECT %s::text", ["again"])
        assert cursor.fetchall() == [("again",)]


@report.check
def two_named_cursors_are_read_by_turns():
    with psycopg.connect() as other:
        one, two = other.cursor("one"), other.cursor("two")
        one.execute(NUMBERS)
        two.execute(NUMBERS)
        for _ in range(3):
            assert one.fetchmany(5) == two.fetchmany(5)
        other.commit()
        raises(one.fetchone, "34000", psycopg.Error)


@report.check
def a_cursor_with_hold_outlives_its_transaction():
    with psycopg.connect() as other, other.cursor("held", withhold=True) as cursor:
        cursor.execute(NUMBERS)
        assert cursor.fetchone() == (1, "row 1")
        other.commit()
        assert cursor.fetchone() == (2, "row 2")


@report.check
def a_cursor_that_scrolls_back_is_refused():
    with psycopg.connect() as other, other.cursor("back", scrollable=True) as cursor:
        raises(lambda: cursor.execute(NUMBERS), "55000", psycopg.Error)
    with psycopg.connect() as other, other.cursor("forth", scrollable=False) as cursor:
        cursor.execute(NUMBERS)
        cursor.fetchmany(3)
        raises(lambda: cursor.scroll(-1), "55000", psycopg.Error)


@report.check
def copy_to_stdout_gives_the_rows():
    with connection.cursor() as cursor:
        with cursor.copy(f"COPY ({NUMBERS}) TO STDOUT") as copy:
            rows = list(copy.rows())
        assert rows[0] == ("1", "row 1") and len(rows) == 1000
        assert cursor.rowcount == 1000
        with cursor.copy(f"COPY ({NUMBERS}) TO STDOUT (FORMAT csv, HEADER)") as copy:
            text = b"".join(copy).decode()
        assert text.startswith("n,label\n1,row 1\n2,row 2\n") and text.count("\n") == 1001
        with cursor.copy(f"COPY ({NUMBERS}) TO STDOUT (FORMAT binary)") as copy:
            copy.set_types(["int8", "text"])
            assert list(copy.rows())[:2] == [(1, "row 1"), (2, "row 2")]
        query = sql.SQL("COPY (SELECT value FROM generate_series(1, 10) AS t(value) WHERE value > {}) TO STDOUT").format(8)
        with cursor.copy(query) as copy:
            assert list(copy.rows()) == [("9",), ("10",)]


@report.check
def copy_to_and_from_files_is_refused():
    for text in [
        "COPY queries TO '/tmp/x'",
        "COPY (SELECT 1) TO PROGRAM 'cat'",
        "COPY queries FROM STDIN",
        "COPY queries FROM '/etc/passwd'",
    ]:
        with connection.cursor() as cursor:
            try:
                with cursor.copy(text) as copy:
                    list(copy)
                raise AssertionError(f"{text} is allowed")
            except psycopg.Error as error:
                assert error.sqlstate in ("42501", "42601"), f"{text}: {error.sqlstate} {error}"
    assert connection.execute("SELECT 1").fetchone() == (1,)


@report.check
def a_running_statement_is_cancelled():
    with psycopg.connect(autocommit=True) as other:
        done = threading.Event()

        def cancel():
            # Again until it hits: the statement may not have begun yet.
            while not done.wait(0.1):
                other.cancel_safe()

        thread = threading.Thread(target=cancel)
        thread.start()
        try:
            raises(lambda: other.execute(ENDLESS), "57014", psycopg.errors.QueryCanceled)
        finally:
            done.set()
            thread.join()
        assert other.execute("SELECT 1").fetchone() == (1,)


@report.check
def a_stream_of_rows_is_cancelled():
    with psycopg.connect(autocommit=True) as other:
        def reads():
            query = "SELECT a.value FROM generate_series(1, 100000) AS a(value), generate_series(1, 100000) AS b(value)"
            for number, _ in enumerate(other.cursor().stream(query)):
                if number == 10:
                    other.cancel_safe()
        raises(reads, "57014", psycopg.errors.QueryCanceled)
        assert other.execute("SELECT 1").fetchone() == (1,)


@report.check
def the_clients_time_limit_holds():
    with psycopg.connect(autocommit=True, options="-c statement_timeout=100ms") as other:
        raises(lambda: other.execute(ENDLESS), "57014", psycopg.errors.QueryCanceled)
        with other.transaction():
            other.execute("SET LOCAL statement_timeout = 0")
            assert other.execute("SHOW statement_timeout").fetchone() == ("0",)
        assert other.execute("SHOW statement_timeout").fetchone() == ("100ms",)


@report.check
def several_statements_give_several_results():
    cursor = connection.execute("SELECT 1; SELECT 2, 3; SELECT 4")
    results = [cursor.fetchall()]
    while cursor.nextset():
        results.append(cursor.fetchall())
    assert results == [[(1,)], [(2, 3)], [(4,)]]


@report.check
def types_are_looked_up_by_name():
    info = TypeInfo.fetch(connection, "timestamptz")
    assert (info.oid, info.array_oid) == (1184, 1185)
    assert TypeInfo.fetch(connection, "hstore") is None
    assert TypeInfo.fetch(connection, sql.Identifier("pg_catalog", "text")).oid == 25


@report.check
def errors_say_what_and_with_which_code():
    for text, code in [
        ("SELEC 1", "42601"),
        ("DROP TABLE queries", "42501"),
        ("INSERT INTO queries SELECT * FROM queries", "42501"),
        ("SELECT 1/0", "22012"),
        ("LISTEN x", "42501"),
        ("SET no_such_setting = 1", "42704"),
    ]:
        raises(lambda: connection.execute(text), code, psycopg.Error)


@report.check
def an_asynchronous_connection_works_too():
    async def asks():
        async with await psycopg.AsyncConnection.connect() as other:
            async with other.cursor("asynchronous") as cursor:
                await cursor.execute(NUMBERS)
                assert len(await cursor.fetchall()) == 1000
    asyncio.run(asks())


report.tell()
