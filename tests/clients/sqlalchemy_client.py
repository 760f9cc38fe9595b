"""SQLAlchemy 2 over psycopg and asyncpg: reflection, Core statements, streams."""

import asyncio

import sqlalchemy
from sqlalchemy import MetaData, Table, func, inspect, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.asyncio import create_async_engine

from matrix import Report, raises, statements

report = Report()
engine = sqlalchemy.create_engine("postgresql+psycopg://")
TABLES = {"alerts", "api_access", "containers", "losses", "queries", "syscalls", "usage"}
VIEWS = {"file_changes", "network_flows", "sessions", "syscalls_named"}

with engine.connect() as connection:
    for name, statement in statements().items():
        report.answer(name, connection.execute(text(statement.replace(":", "\\:"))))


def raises_no_such(function):
    try:
        function()
    except sqlalchemy.exc.NoSuchTableError:
        return
    raise AssertionError("a table that is not there was found")


@report.check
def schemas_tables_and_views_are_found():
    inspector = inspect(engine)
    assert "public" in inspector.get_schema_names()
    assert inspector.default_schema_name == "public"
    assert set(inspector.get_table_names()) == TABLES, inspector.get_table_names()
    assert set(inspector.get_table_names(schema="public")) == TABLES
    assert set(inspector.get_view_names()) == VIEWS, inspector.get_view_names()
    assert inspector.get_materialized_view_names() == []
    assert inspector.get_temp_table_names() == [] and inspector.get_sequence_names() == []
    assert inspector.has_table("usage") and inspector.has_table("syscalls_named")
    assert not inspector.has_table("nope") and not inspector.has_table("usage", schema="nope")
    assert inspector.has_schema("public") and not inspector.has_schema("nope")
    assert not inspector.has_index("usage", "nope") and not inspector.has_sequence("nope")
    assert inspector.get_enums() == [] and inspector.get_domains() == []


@report.check
def columns_have_types_and_comments():
    columns = {column["name"]: column for column in inspect(engine).get_columns("syscalls")}
    assert isinstance(columns["time"]["type"], postgresql.TIMESTAMP) and columns["time"]["type"].timezone
    assert isinstance(columns["proc_pid"]["type"], sqlalchemy.BIGINT)
    assert isinstance(columns["evt_type"]["type"], sqlalchemy.TEXT)
    assert isinstance(columns["date"]["type"], sqlalchemy.DATE)
    lists = inspect(engine).get_columns("alerts")
    tags = next(column for column in lists if column["name"] == "tags")
    assert isinstance(tags["type"], sqlalchemy.ARRAY), tags
    assert columns["proc_pid"]["nullable"] and columns["proc_pid"]["default"] is None
    assert columns["proc_pid"]["comment"]
    assert inspect(engine).get_table_comment("usage")["text"]
    raises_no_such(lambda: inspect(engine).get_columns("nope"))


@report.check
def there_are_no_keys_indexes_or_constraints():
    inspector = inspect(engine)
    for table in ("usage", "syscalls"):
        assert inspector.get_pk_constraint(table)["constrained_columns"] == []
        assert inspector.get_foreign_keys(table) == []
        assert inspector.get_indexes(table) == []
        assert inspector.get_unique_constraints(table) == []
        assert inspector.get_check_constraints(table) == []
        assert inspector.get_table_options(table) == {}
    for multi in (inspector.get_multi_columns(), inspector.get_multi_pk_constraint()):
        assert {name for _, name in multi} == TABLES, multi


@report.check
def everything_is_reflected_at_once():
    metadata = MetaData()
    metadata.reflect(engine, views=True)
    assert set(metadata.tables) == TABLES | VIEWS, set(metadata.tables)
    usage = Table("usage", MetaData(), autoload_with=engine)
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(usage)).scalar() >= 0


@report.check
def a_core_statement_is_planned_and_read():
    queries = Table("queries", MetaData(), autoload_with=engine)
    statement = (
        select(queries.c.principal, func.count().label("n"))
        .where(queries.c.outcome.in_(["ok", "failed"]), queries.c.rows >= 0, queries.c.sql.like("SELECT%"))
        .group_by(queries.c.principal)
        .order_by(func.count().desc())
        .limit(5)
        .offset(0)
    )
    with engine.connect() as connection:
        assert isinstance(connection.execute(statement).all(), list)


@report.check
def a_stream_is_read_in_portions():
    with engine.connect().execution_options(stream_results=True, max_row_buffer=100) as connection:
        numbers = connection.execute(text("SELECT value FROM generate_series(1, 1000) AS t(value) ORDER BY 1"))
        assert [number for (number,) in numbers] == list(range(1, 1001))
        portions = connection.execution_options(yield_per=64).execute(text("SELECT value FROM generate_series(1, 300) AS t(value)"))
        assert sum(len(portion) for portion in portions.partitions()) == 300


@report.check
def savepoints_and_isolation_levels_are_accepted():
    with engine.connect() as connection:
        with connection.begin():
            nested = connection.begin_nested()
            raises(lambda: connection.execute(text("SELECT nope")), "42703", sqlalchemy.exc.DBAPIError)
            nested.rollback()
            assert connection.execute(text("SELECT 1")).scalar() == 1
        assert connection.get_isolation_level() == "READ COMMITTED"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1
    with engine.connect().execution_options(
        isolation_level="SERIALIZABLE", postgresql_readonly=True, postgresql_deferrable=True
    ) as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 1


@report.check
def reflection_works_over_asyncpg_too():
    async def asks():
        other = create_async_engine("postgresql+asyncpg://")
        async with other.connect() as connection:
            names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
            assert set(names) == TABLES
            columns = await connection.run_sync(lambda sync: inspect(sync).get_columns("usage"))
            assert len(columns) > 10
            row = await connection.execute(text("SELECT CAST(:n AS bigint) AS n"), {"n": 7})
            assert row.scalar() == 7
        await other.dispose()
    asyncio.run(asks())


report.tell()
