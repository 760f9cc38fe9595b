"""asyncpg: parameters, prepared statements, cursors, arrays, structs, pools, COPY."""

import asyncio
import datetime
import decimal
import io
import os

import asyncpg

from matrix import Report, plain, statements

report = Report()
NUMBERS = "SELECT value::bigint AS n, 'row ' || value AS label FROM generate_series(1, 1000) AS t(value) ORDER BY 1"
ENDLESS = "SELECT sum(value % 7) FROM generate_series(1, 1000000000000) AS t(value)"


async def parameters_of_every_type_come_back(connection):
    utc = datetime.timezone.utc
    for cast, value in [
        ("bigint", -(2**40)),
        ("integer", 7),
        ("smallint", 7),
        ("text", "é'\"\\ \n"),
        ("double precision", 1.5),
        ("real", 0.5),
        ("boolean", False),
        ("date", datetime.date(2026, 11, 24)),
        ("timestamptz", datetime.datetime(2026, 11, 24, 10, 0, 0, 1, tzinfo=utc)),
        ("timestamp", datetime.datetime(2026, 11, 24, 10, 0, 0, 1)),
        ("numeric(10,2)", decimal.Decimal("12.50")),
        ("bytea", b"\x00\xff"),
        ("text[]", ["a", "b,c", None]),
        ("bigint[]", [1, 2, 3]),
        ("double precision[]", [1.5]),
        ("text", None),
    ]:
        found = await connection.fetchval(f"SELECT $1::{cast}", value)
        assert plain(found) == plain(value), f"{cast}: {found!r} for {value!r}"


async def parameters_take_the_columns_type(connection):
    query = "SELECT count(*) FROM generate_series(1, 1000) AS t(n) WHERE n = $1 OR n = ANY($2) OR n BETWEEN $3 AND $4"
    assert await connection.fetchval(query, 5, [7, 8], 990, 995) == 9
    query = "SELECT count(*) FROM queries WHERE time > $1 AND sql <> $2 AND sql <> ALL($3)"
    since = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)
    assert await connection.fetchval(query, since, "x", ["y"]) >= 0


async def a_prepared_statement_describes_itself(connection):
    query = "SELECT time, sql, rows, tenant_scope, date FROM queries WHERE principal = $1 AND rows > $2"
    statement = await connection.prepare(query)
    assert [kind.name for kind in statement.get_parameters()] == ["text", "int8"]
    found = [(one.name, one.type.name) for one in statement.get_attributes()]
    expected = ["timestamptz", "text", "int8", "text[]", "date"]
    assert [kind for _, kind in found] == expected, found
    assert isinstance(await statement.fetch("operator", 0), list)


async def a_cursor_reads_in_portions(connection):
    async with connection.transaction(readonly=True, isolation="repeatable_read"):
        cursor = await connection.cursor(NUMBERS)
        assert (await cursor.fetchrow())["label"] == "row 1"
        await cursor.forward(9)
        assert (await cursor.fetch(2))[0]["n"] == 11
        numbers = [row["n"] async for row in connection.cursor(NUMBERS, prefetch=64)]
        assert numbers == list(range(1, 1001))


async def transactions_nest(connection):
    async with connection.transaction():
        try:
            async with connection.transaction():
                await connection.fetch("SELECT nope")
        except asyncpg.PostgresError:
            pass
        assert await connection.fetchval("SELECT 1") == 1


async def copy_writes_rows(connection):
    out = io.BytesIO()
    status = await connection.copy_from_query(NUMBERS, output=out, format="csv", header=True)
    assert status == "COPY 1000" and out.getvalue().startswith(b"n,label\n1,row 1\n")
    out = io.BytesIO()
    assert await connection.copy_from_query("SELECT $1::int AS a", 7, output=out) == "COPY 1"
    assert out.getvalue() == b"7\n"
    out = io.BytesIO()
    await connection.copy_from_table("queries", columns=["principal", "sql"], schema_name="public", output=out)


async def a_time_limit_cancels_and_the_connection_stays(connection):
    try:
        await connection.fetch(ENDLESS, timeout=0.2)
        raise AssertionError("it ended")
    except asyncio.TimeoutError:
        pass
    assert await connection.fetchval("SELECT 1") == 1


async def a_pool_resets_what_it_takes_back(_):
    async with asyncpg.create_pool(min_size=1, max_size=2) as pool:
        for _ in range(3):
            async with pool.acquire() as connection:
                await connection.execute("SET application_name = 'pooled'")
                assert await connection.fetchval("SELECT 1") == 1
        async with pool.acquire() as connection:
            assert await connection.fetchval("SHOW application_name") != "pooled"


async def codecs_are_set_by_name(_):
    connection = await asyncpg.connect(server_settings={"application_name": "codecs"})
    await connection.set_type_codec("numeric", encoder=str, decoder=str, schema="pg_catalog", format="text")
    assert await connection.fetchval("SELECT 12.50::numeric(10,2)") == "12.50"
    assert await connection.fetchval("SHOW application_name") == "codecs"
    await connection.reload_schema_state()
    await connection.reset()
    await connection.close()


async def errors_have_classes_of_their_own(connection):
    for text, kind in [
        ("SELEC 1", asyncpg.PostgresSyntaxError),
        ("DROP TABLE queries", asyncpg.InsufficientPrivilegeError),
        ("SELECT nope FROM queries", asyncpg.PostgresError),
    ]:
        try:
            await connection.fetch(text)
            raise AssertionError(f"{text} is allowed")
        except kind:
            pass


async def structs_have_their_fields(connection):
    row = await connection.fetchrow(
        "SELECT named_struct('pid', 7, 'name', 'sh') AS one, "
        "make_array(named_struct('name', 'a', 'value', 'b'), named_struct('name', 'c', 'value', 'd')) AS list"
    )
    assert plain(row["one"]) == ["7", "sh"], row["one"]
    assert plain(row["list"]) == [["a", "b"], ["c", "d"]], row["list"]


async def main():
    connection = await asyncpg.connect(statement_cache_size=int(os.environ.get("CACHE", "100")))
    for name, text in statements().items():
        report.answer(name, await connection.fetch(text))
    for check in [
        parameters_of_every_type_come_back,
        parameters_take_the_columns_type,
        a_prepared_statement_describes_itself,
        a_cursor_reads_in_portions,
        transactions_nest,
        copy_writes_rows,
        a_time_limit_cancels_and_the_connection_stays,
        a_pool_resets_what_it_takes_back,
        codecs_are_set_by_name,
        errors_have_classes_of_their_own,
        structs_have_their_fields,
    ]:
        await report.acheck(check, connection)


asyncio.run(main())
report.tell()
