"""Values and types between Bailiwick and PostgreSQL's drivers: psycopg in text and in binary, and asyncpg.

usage: postgres_types.py host port token
"""

import asyncio
import datetime as dt
import decimal
import sys
import uuid

import asyncpg
import psycopg

HOST, PORT, TOKEN = sys.argv[1], int(sys.argv[2]), sys.argv[3]
D = decimal.Decimal
UTC = dt.timezone.utc
ID = uuid.UUID("01234567-89ab-cdef-0123-456789abcdef")
LONG = D("12345678901234567890123456789012345678")

# A statement, its values, and its first row.
PARAMETERS = [
    ("SELECT %s", [dt.timedelta(days=1, seconds=3)], (dt.timedelta(days=1, seconds=3),)),
    ("SELECT now() - %s < now()", [dt.timedelta(hours=1)], (True,)),
    ("SELECT count(*) FROM syscalls WHERE time > timestamptz '2026-11-24 10:00:10+00' - %s",
     [dt.timedelta(seconds=20)], (1200,)),
    ("SELECT %s", [ID], (str(ID),)),
    ("SELECT count(*) FROM syscalls WHERE exec_id = %s", [ID], (0,)),
    ("SELECT %s", [psycopg.types.json.Json({"a": 1})], ('{"a": 1}',)),
    ("SELECT %s", [psycopg.types.json.Jsonb({"a": 1})], ('{"a": 1}',)),
    ("SELECT count(*) FROM alerts WHERE output_fields = %s", [psycopg.types.json.Jsonb({"a": 1})], (0,)),
    ("SELECT %s", [[1, 2]], ([1, 2],)),
    ("SELECT %s::text[]", [["a", None, 'b"c']], (["a", None, 'b"c'],)),
    ("SELECT %s", [[D("1.5"), D("20")]], ([D("1.5"), D("20.0")],)),
    ("SELECT %s", [[b"\x00\xff"]], ([b"\x00\xff"],)),
    ("SELECT %s", [D("1.50")], (D("1.50"),)),
    ("SELECT %s::numeric", [D("1.5")], (D("1.5"),)),
    ("SELECT %s::numeric", [LONG], (LONG,)),
    ("SELECT %s::numeric(38,0)", [LONG], (LONG,)),
    ("SELECT %s", [-LONG / 10**20], (-LONG / 10**20,)),
    ("SELECT count(*) FROM syscalls WHERE proc_pid > %s", [D("1.5")], (1196,)),
    ("SELECT count(*) FROM syscalls WHERE proc_pid > %s", [1.5], (1196,)),
    ("SELECT %s", [b"\x00\xff"], (b"\x00\xff",)),
    ("SELECT * FROM (VALUES (%s, %s)) v (a, b)", [1, "x"], (1, "x")),
    ("SELECT %s", [dt.datetime(9999, 12, 31, tzinfo=UTC)], (dt.datetime(9999, 12, 31, tzinfo=UTC),)),
    ("SELECT %s::timestamptz", [dt.datetime(1, 1, 1, tzinfo=UTC)], (dt.datetime(1, 1, 1, tzinfo=UTC),)),
    ("SELECT %s", [dt.datetime(2026, 11, 24, 10, 0, 0, 5)], (dt.datetime(2026, 11, 24, 10, 0, 0, 5),)),
    ("SELECT %s", [dt.date(2026, 11, 24)], (dt.date(2026, 11, 24),)),
    ("SELECT %s", [dt.time(10, 0, 1, 5)], (dt.time(10, 0, 1, 5),)),
    ("SELECT %s, %s, %s", [True, 1.5, None], (True, 1.5, None)),
    ("SELECT coalesce(%s, %s)", [None, "x"], ("x",)),
    ("SELECT count(*) FROM syscalls WHERE evt_type = ANY(%s)", [["openat"]], (600,)),
    ("SELECT count(*) FROM syscalls WHERE evt_type LIKE ANY(%s)", [["open%", "x"]], (600,)),
    ("SELECT count(*) FROM syscalls WHERE proc_pid = ANY(%s)", [[7, 8]], (4,)),
    ("SELECT '{\"a\": {\"b\": 2}}' -> %s ->> %s", ["a", "b"], ("2",)),
    ("SELECT ARRAY['a'] && %s, %s @> ARRAY['a']", [["a", "b"], ["b"]], (True, False)),
]

# What the server answers without any values.
ANSWERS = [
    ("SELECT arrow_cast(1,'Int8'), arrow_cast(255,'UInt8'), arrow_cast(65535,'UInt16')", (1, 255, 65535)),
    ("SELECT arrow_cast(-1,'Int8'), arrow_cast(4294967295,'UInt32')", (-1, 4294967295)),
    ("SELECT arrow_cast('18446744073709551615','UInt64')", (D(18446744073709551615),)),
    ("SELECT ARRAY[arrow_cast(1,'Int8'), NULL], ARRAY[arrow_cast(1,'UInt32')]", ([1, None], [1])),
    ("SELECT arrow_cast(1.5,'Float16')", (1.5,)),
    ("SELECT ARRAY[ARRAY[1,2],ARRAY[3,4]], ARRAY[ARRAY['a b']]", ([[1, 2], [3, 4]], [["a b"]])),
    ("SELECT arrow_cast('1.50','Decimal256(50, 2)')", (D("1.50"),)),
    ("SELECT arrow_cast('-12345678901234567890123456789012345678.5','Decimal256(50, 1)')", (D("-12345678901234567890123456789012345678.5"),)),
    ("SELECT NULL::interval, interval '1 day'", (None, dt.timedelta(days=1))),
    ("SELECT '\\x00ff'::bytea", (b"\x00\xff",)),
    ("SELECT to_char(timestamptz '2026-11-24 15:04:05.006+00', 'YYYY-MM-DD HH24:MI TZ')", ("2026-11-24 15:04 UTC",)),
    ("SELECT timestamptz '2026-07-01 10:00:00+00' AT TIME ZONE 'Europe/Berlin'", (dt.datetime(2026, 7, 1, 12),)),
    ("SELECT timestamp '2026-07-01 12:00:00' AT TIME ZONE 'Europe/Berlin'",
     (dt.datetime(2026, 7, 1, 10, tzinfo=UTC),)),
    ("SELECT json_build_object('a', 1, 'b', NULL)", ('{"a" : 1, "b" : null}',)),
    ("SELECT 1::int, 1::bigint", (1, 1)),
    ("SELECT count(*), count(*) FROM alerts", (1200, 1200)),
    ("SELECT count(*) FROM syscalls WHERE evt_type LIKE ANY (ARRAY['open%%', 'x'])", (600,)),
    ("SELECT count(*) FROM syscalls WHERE evt_type NOT ILIKE ANY (ARRAY['OPEN%%'])", (600,)),
    ("SELECT count(*) FROM syscalls WHERE evt_type ~ ANY (ARRAY['^open', 'zz'])", (600,)),
    ("SELECT count(*) FROM syscalls WHERE evt_type = ANY (SELECT 'openat')", (600,)),
    ("SELECT count(*) FROM syscalls WHERE evt_type <> ALL (ARRAY['openat'])", (600,)),
    ("SELECT count(*) FROM syscalls WHERE 'openat' = SOME (ARRAY[evt_type])", (600,)),
    ("SELECT count(*) FROM alerts WHERE output_fields ->> 'proc.name' IS NULL", (1200,)),
    ("SELECT count(*) FROM alerts WHERE tags && ARRAY['none'] OR tags @> '{none}'", (0,)),
    ("WITH a AS (SELECT 1 AS b) TABLE a", (1,)),
]


def rows(connection, sql, values, binary):
    with connection.cursor(binary=binary) as cursor:
        cursor.execute(sql, values)
        return cursor.fetchone()


def with_psycopg():
    address = f"host={HOST} port={PORT} user=x password={TOKEN} dbname=bailiwick"
    failures = []
    with psycopg.connect(address, autocommit=True) as connection:
        for binary in (False, True):
            for sql, values, expected in PARAMETERS + [(sql, None, expected) for sql, expected in ANSWERS]:
                for sql in [sql] if not binary else [sql, sql.replace("%s", "%b"), sql.replace("%s", "%t")]:
                    sql = sql if values is not None else sql.replace("%%", "%")
                    try:
                        found = rows(connection, sql, values, binary)
                    except Exception as error:
                        found = error
                    if found != expected:
                        failures.append(f"{sql} {values} binary={binary}: {found!r}, expected {expected!r}")
        for sql, expected in [
            ("SELECT 1::int, 1::bigint, 2 AS a, 3 AS a", ["int4", "int8", "a", "a"]),
            ("SELECT *, time FROM usage LIMIT 1", "time"),
        ]:
            names = [column.name for column in connection.execute(sql).description]
            if names != expected and names[-1] != expected:
                failures.append(f"{sql}: {names}")
        with connection.cursor() as cursor:
            with cursor.copy("COPY (SELECT 1::int, arrow_cast(2,'Int8') AS a, 3 AS a) TO STDOUT CSV HEADER") as copied:
                text = b"".join(copied)
            if text != b"int4,a,a\n1,2,3\n" and not text.endswith(b",a,a\n1,2,3\n"):
                failures.append(f"COPY: {text}")
        connection.execute("SET work_mem = '64MB'")
        connection.execute("SET myapp.user = 'olga'")
        for sql, expected in [
            ("SHOW myapp.user", [("olga",)]),
            ("SHOW work_mem", [("64MB",)]),
            ("SELECT ARRAY[ARRAY[1,2],ARRAY[3]]", [([[1, 2], [3]],)]),
            ("TABLE alerts", 1200),
        ]:
            try:
                found = connection.execute(sql).fetchall()
            except Exception as error:
                found = [error]
            if found != expected and len(found) != expected:
                failures.append(f"{sql}: {found}")
    return failures


async def with_asyncpg():
    failures = []
    connection = await asyncpg.connect(host=HOST, port=PORT, user="x", password=TOKEN, database="bailiwick")
    for sql, values, expected in [
        ("SELECT $1::interval", [dt.timedelta(hours=1)], dt.timedelta(hours=1)),
        ("SELECT now() - $1::interval < now()", [dt.timedelta(hours=1)], True),
        ("SELECT $1::uuid", [ID], str(ID)),
        ("SELECT $1::jsonb", ['{"a": 1}'], '{"a": 1}'),
        ("SELECT $1::numeric", [D("1.50")], D("1.50")),
        ("SELECT $1::numeric", [LONG], LONG),
        ("SELECT $1::numeric[]", [[D("1.5"), None]], [D("1.5"), None]),
        ("SELECT $1::bytea", [b"\x00\xff"], b"\x00\xff"),
        ("SELECT $1::time", [dt.time(1, 2, 3)], dt.time(1, 2, 3)),
        ("SELECT $1::uuid[]", [[ID]], [str(ID)]),
        ("SELECT $1::int[]", [[1, 2]], [1, 2]),
        ("SELECT $1::timestamptz", [dt.datetime(9999, 12, 31, tzinfo=UTC)], dt.datetime(9999, 12, 31, tzinfo=UTC)),
        ("SELECT b FROM (VALUES ($1::int, $2)) v (a, b)", [1, "x"], "x"),
        ("SELECT ARRAY[ARRAY[1,2],ARRAY[3,4]]", [], [[1, 2], [3, 4]]),
        ("SELECT arrow_cast(1,'Int8')", [], 1),
    ]:
        try:
            found = await connection.fetchval(sql, *values)
        except Exception as error:
            found = error
        if found != expected:
            failures.append(f"asyncpg {sql} {values}: {found!r}, expected {expected!r}")
    await connection.close()
    return failures


failures = with_psycopg() + asyncio.run(with_asyncpg())
if failures:
    sys.exit("\n".join(failures))
