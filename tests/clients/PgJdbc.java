// PostgreSQL's JDBC driver: metadata, parameters, portions, time limits, COPY, both protocols.

import java.io.ByteArrayOutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.*;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.time.format.DateTimeFormatter;
import java.util.*;
import org.postgresql.PGConnection;

public class PgJdbc {
    interface Check { void run() throws Exception; }

    static final String NUMBERS =
        "SELECT value::bigint AS n, 'row ' || value AS label FROM generate_series(1, 1000) AS t(value) ORDER BY 1";
    static final String ENDLESS = "SELECT sum(value % 7) FROM generate_series(1, 1000000000000) AS t(value)";
    static final Set<String> TABLES = new TreeSet<>(
        List.of("alerts", "api_access", "containers", "losses", "queries", "syscalls", "usage"));
    static final Map<String, String> cases = new LinkedHashMap<>();
    static final Map<String, String> checks = new LinkedHashMap<>();

    static Connection connect(String options) throws SQLException {
        String host = System.getenv("PGHOST"), port = System.getenv("PGPORT");
        String url = "jdbc:postgresql://" + host + ":" + port + "/" + System.getenv("PGDATABASE") + "?" + options;
        return DriverManager.getConnection(url, System.getenv("PGUSER"), System.getenv("PGPASSWORD"));
    }

    // A cell in the form that is compared: null, a text, or a list of cells, as JSON.
    static String cell(ResultSet rows, int column) throws SQLException {
        String kind = rows.getMetaData().getColumnTypeName(column);
        Object value = switch (kind) {
            case "timestamptz" -> rows.getObject(column, OffsetDateTime.class);
            case "bytea" -> rows.getBytes(column);
            default -> rows.getObject(column);
        };
        return json(value);
    }

    static String json(Object value) throws SQLException {
        if (value == null) return "null";
        if (value instanceof java.sql.Array array) value = array.getArray();
        if (value instanceof byte[] bytes) return quoted(HexFormat.of().formatHex(bytes));
        if (value instanceof Object[] items) {
            List<String> cells = new ArrayList<>();
            for (Object item : items) cells.add(json(item));
            return "[" + String.join(",", cells) + "]";
        }
        if (value instanceof OffsetDateTime time) {
            OffsetDateTime utc = time.withOffsetSameInstant(ZoneOffset.UTC);
            return quoted(utc.format(DateTimeFormatter.ISO_LOCAL_DATE_TIME) + "Z");
        }
        if (value instanceof java.math.BigDecimal number) return quoted(number.toPlainString());
        return quoted(value.toString());
    }

    static String quoted(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char letter : text.toCharArray()) {
            if (letter == '"' || letter == '\\') out.append('\\').append(letter);
            else if (letter < ' ') out.append(String.format("\\u%04x", (int) letter));
            else out.append(letter);
        }
        return out.append('"').toString();
    }

    static String rows(ResultSet rows) throws SQLException {
        List<String> lines = new ArrayList<>();
        int columns = rows.getMetaData().getColumnCount();
        while (rows.next()) {
            List<String> cells = new ArrayList<>();
            for (int column = 1; column <= columns; column++) cells.add(cell(rows, column));
            lines.add("[" + String.join(",", cells) + "]");
        }
        return "[" + String.join(",", lines) + "]";
    }

    static void check(String name, Check work) {
        try {
            work.run();
            checks.put(name, "ok");
        } catch (Throwable error) {
            StringBuilder text = new StringBuilder(error.toString());
            for (StackTraceElement frame : error.getStackTrace()) {
                if (frame.getClassName().startsWith("PgJdbc")) text.append("\n  at ").append(frame);
            }
            checks.put(name, text.toString());
        }
    }

    static void is(Object found, Object expected) {
        if (!Objects.equals(found, expected)) throw new AssertionError(found + " in place of " + expected);
    }

    static void fails(Check work, String state) throws Exception {
        try {
            work.run();
        } catch (SQLException error) {
            is(error.getSQLState(), state);
            return;
        }
        throw new AssertionError("nothing failed; " + state + " was expected");
    }

    static Set<String> column(ResultSet rows, String name) throws SQLException {
        Set<String> values = new TreeSet<>();
        while (rows.next()) values.add(rows.getString(name));
        return values;
    }

    static void metadata(Connection connection) throws Exception {
        DatabaseMetaData data = connection.getMetaData();
        check("getTables", () -> {
            is(column(data.getTables(null, "public", "%", new String[] {"TABLE"}), "TABLE_NAME"), TABLES);
            is(column(data.getTables(null, null, "sysc%", new String[] {"VIEW"}), "TABLE_NAME"),
                Set.of("syscalls_named"));
            ResultSet usage = data.getTables(null, "public", "usage", null);
            is(usage.next(), true);
            is(usage.getString("TABLE_SCHEM"), "public");
            is(usage.getString("REMARKS").isEmpty(), false);
            is(column(data.getTables(null, null, "nope", null), "TABLE_NAME"), Set.of());
        });
        check("getColumns", () -> {
            ResultSet columns = data.getColumns(null, "public", "usage", "%");
            Map<String, Integer> types = new HashMap<>();
            int place = 0;
            while (columns.next()) {
                is(columns.getInt("ORDINAL_POSITION"), ++place);
                types.put(columns.getString("COLUMN_NAME"), columns.getInt("DATA_TYPE"));
            }
            is(types.get("cpu_ns"), Types.BIGINT);
            is(types.get("tenant"), Types.VARCHAR);
            is(types.get("date"), Types.DATE);
            ResultSet time = data.getColumns(null, null, "usage", "time");
            is(time.next(), true);
            is(time.getString("TYPE_NAME"), "timestamptz");
            ResultSet tags = data.getColumns(null, null, "alerts", "tags");
            is(tags.next(), true);
            is(tags.getInt("DATA_TYPE"), Types.ARRAY);
        });
        check("getSchemas", () -> is(column(data.getSchemas(), "TABLE_SCHEM").contains("public"), true));
        check("getCatalogs", () -> is(column(data.getCatalogs(), "TABLE_CAT"), Set.of("bailiwick")));
        check("getTableTypes", () -> is(column(data.getTableTypes(), "TABLE_TYPE").contains("TABLE"), true));
        check("getPrimaryKeys", () -> is(data.getPrimaryKeys(null, "public", "usage").next(), false));
        check("getIndexInfo", () -> is(data.getIndexInfo(null, "public", "usage", false, false).next(), false));
        check("getImportedKeys", () -> is(data.getImportedKeys(null, "public", "usage").next(), false));
        check("getExportedKeys", () -> is(data.getExportedKeys(null, "public", "usage").next(), false));
        check("getCrossReference",
            () -> is(data.getCrossReference(null, "public", "usage", null, "public", "alerts").next(), false));
        check("getBestRowIdentifier",
            () -> is(data.getBestRowIdentifier(null, "public", "usage", 0, true).next(), false));
        check("getVersionColumns", () -> data.getVersionColumns(null, "public", "usage").next());
        check("getTablePrivileges", () -> data.getTablePrivileges(null, "public", "usage").next());
        check("getColumnPrivileges", () -> data.getColumnPrivileges(null, "public", "usage", "%").next());
        check("getTypeInfo", () -> {
            Set<String> types = column(data.getTypeInfo(), "TYPE_NAME");
            is(types.containsAll(Set.of("text", "int8", "timestamptz", "bool", "_text")), true);
        });
        check("getUDTs", () -> is(data.getUDTs(null, "public", "%", null).next(), false));
        check("getFunctions", () -> {
            ResultSet functions = data.getFunctions(null, "pg_catalog", "%");
            is(functions.next(), true);
            is(data.getFunctions(null, "public", "nope").next(), false);
        });
        check("getFunctionColumns", () -> data.getFunctionColumns(null, "pg_catalog", "upper", "%").next());
        check("getProcedures", () -> is(data.getProcedures(null, "public", "%").next(), false));
        check("getProcedureColumns", () -> is(data.getProcedureColumns(null, "public", "%", "%").next(), false));
        check("getClientInfoProperties", () -> is(data.getClientInfoProperties().next(), true));
        check("constants", () -> {
            is(data.getDatabaseProductName(), "PostgreSQL");
            is(data.getMaxColumnNameLength(), 63);
            is(data.getSQLKeywords().contains("analyze"), true);
            is(data.getMaxIndexLength() >= 0, true);
            is(data.supportsSavepoints(), true);
            is(data.getUserName(), System.getenv("PGUSER"));
        });
    }

    static void statements(Connection connection, String mode) throws Exception {
        check("parameters " + mode, () -> {
            PreparedStatement asked = connection.prepareStatement(
                "SELECT ?::text, ?::bigint, ?::double precision, ?::boolean, ?::date, ?::timestamptz, ?::numeric(10,2)");
            OffsetDateTime time = OffsetDateTime.of(2026, 11, 24, 10, 0, 0, 1000, ZoneOffset.UTC);
            // Prepared on the server after some uses, and read in binary then.
            for (int use = 0; use < 12; use++) {
                asked.setString(1, "é'\"\\");
                asked.setLong(2, -(1L << 40));
                asked.setDouble(3, 1.5);
                asked.setBoolean(4, true);
                asked.setObject(5, java.time.LocalDate.of(2026, 11, 24));
                asked.setObject(6, time);
                asked.setBigDecimal(7, new java.math.BigDecimal("12.50"));
                ResultSet row = asked.executeQuery();
                is(row.next(), true);
                is(row.getString(1), "é'\"\\");
                is(row.getLong(2), -(1L << 40));
                is(row.getDouble(3), 1.5);
                is(row.getBoolean(4), true);
                is(row.getObject(5, java.time.LocalDate.class), java.time.LocalDate.of(2026, 11, 24));
                is(row.getObject(6, OffsetDateTime.class), time);
                is(row.getBigDecimal(7).toPlainString(), "12.50");
            }
        });
        check("columns' types are taken " + mode, () -> {
            PreparedStatement asked = connection.prepareStatement(
                "SELECT count(*) FROM queries WHERE time > ? AND rows >= ? AND sql <> ? AND principal = ANY(?)");
            asked.setTimestamp(1, new Timestamp(0));
            asked.setInt(2, 0);
            asked.setString(3, "x");
            asked.setArray(4, connection.createArrayOf("text", new String[] {"operator", "b,c"}));
            ResultSet row = asked.executeQuery();
            is(row.next(), true);
        });
        check("any of an array " + mode, () -> {
            PreparedStatement asked = connection.prepareStatement(
                "SELECT count(*) FROM generate_series(1, 1000) AS t(n) WHERE n = ANY(?)");
            asked.setArray(1, connection.createArrayOf("bigint", new Long[] {5L, 6L, 2000L}));
            ResultSet row = asked.executeQuery();
            is(row.next(), true);
            is(row.getLong(1), 2L);
        });
        // In the simple protocol the driver has no way to ask for less.
        if (mode.startsWith("extended") && !mode.equals("extendedForPrepared")) check("maxRows " + mode, () -> {
            Statement asked = connection.createStatement();
            asked.setMaxRows(7);
            ResultSet rows = asked.executeQuery(NUMBERS);
            int count = 0;
            while (rows.next()) count++;
            is(count, 7);
        });
        check("fetchSize " + mode, () -> {
            connection.setAutoCommit(false);
            Statement asked = connection.createStatement();
            asked.setFetchSize(64);
            ResultSet rows = asked.executeQuery(NUMBERS);
            int count = 0;
            while (rows.next()) is(rows.getInt("n"), ++count);
            is(count, 1000);
            connection.commit();
            connection.setAutoCommit(true);
        });
        check("queryTimeout " + mode, () -> {
            Statement asked = connection.createStatement();
            asked.setQueryTimeout(1);
            fails(() -> asked.executeQuery(ENDLESS), "57014");
            is(connection.createStatement().executeQuery("SELECT 1").next(), true);
        });
        check("cancel " + mode, () -> {
            Statement asked = connection.createStatement();
            Thread canceller = new Thread(() -> {
                // Again until it hits: the statement may not have begun yet.
                while (!Thread.interrupted()) {
                    try {
                        Thread.sleep(100);
                        asked.cancel();
                    } catch (InterruptedException | SQLException ended) {
                        return;
                    }
                }
            });
            canceller.start();
            fails(() -> asked.executeQuery(ENDLESS), "57014");
            canceller.interrupt();
            canceller.join();
            is(connection.createStatement().executeQuery("SELECT 1").next(), true);
        });
        check("transactions " + mode, () -> {
            connection.setReadOnly(true);
            connection.setTransactionIsolation(Connection.TRANSACTION_SERIALIZABLE);
            connection.setAutoCommit(false);
            Statement asked = connection.createStatement();
            Savepoint savepoint = connection.setSavepoint("inner");
            fails(() -> asked.executeQuery("SELECT nope"), "42703");
            connection.rollback(savepoint);
            is(asked.executeQuery("SELECT 1").next(), true);
            connection.releaseSavepoint(savepoint);
            connection.commit();
            is(connection.getTransactionIsolation() > 0, true);
            connection.rollback();
            connection.setAutoCommit(true);
            connection.setReadOnly(false);
        });
        check("several statements " + mode, () -> {
            Statement asked = connection.createStatement();
            is(asked.execute("SET application_name = 'x'; SELECT 1; SELECT 2"), false);
            is(asked.getMoreResults(), true);
            is(asked.getMoreResults(), true);
            ResultSet row = asked.getResultSet();
            is(row.next(), true);
            is(row.getInt(1), 2);
        });
        check("copyOut " + mode, () -> {
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            long rows = connection.unwrap(PGConnection.class).getCopyAPI()
                .copyOut("COPY (" + NUMBERS + ") TO STDOUT (FORMAT csv, HEADER)", out);
            is(rows, 1000L);
            is(out.toString(StandardCharsets.UTF_8).startsWith("n,label\n1,row 1\n"), true);
            fails(() -> connection.unwrap(PGConnection.class).getCopyAPI().copyIn("COPY queries FROM STDIN"), "42501");
        });
        check("result metadata " + mode, () -> {
            ResultSet rows = connection.createStatement().executeQuery("SELECT time, cpu_ns, tenant FROM usage LIMIT 1");
            ResultSetMetaData columns = rows.getMetaData();
            is(columns.getColumnTypeName(1), "timestamptz");
            is(columns.getColumnClassName(2), "java.lang.Long");
            is(columns.getColumnLabel(3), "tenant");
            is(columns.getTableName(1) != null, true);
            is(columns.isNullable(1) >= 0, true);
            columns.isAutoIncrement(2);
        });
        check("isValid " + mode, () -> {
            is(connection.isValid(10), true);
            is(connection.getSchema(), "public");
            is(connection.getCatalog(), "bailiwick");
            connection.setSchema("public");
            connection.setClientInfo("ApplicationName", "matrix");
        });
        check("errors " + mode, () -> {
            fails(() -> connection.createStatement().executeQuery("SELEC 1"), "42601");
            fails(() -> connection.createStatement().execute("DROP TABLE queries"), "42501");
        });
    }

    public static void main(String[] arguments) throws Exception {
        Properties statements = new Properties();
        for (String line : Files.readAllLines(Path.of(arguments[0]))) {
            String[] parts = line.split("\t", 2);
            statements.setProperty(parts[0], parts[1]);
        }
        for (String mode : List.of("extended", "simple", "extendedForPrepared", "extendedCacheEverything")) {
            try (Connection connection = connect("preferQueryMode=" + mode + "&prepareThreshold=3")) {
                for (String name : statements.stringPropertyNames()) {
                    // More often than the threshold, so that the last ones are in binary.
                    PreparedStatement asked = connection.prepareStatement(statements.getProperty(name));
                    for (int use = 0; use < 5; use++) {
                        cases.put(name + " " + mode, rows(asked.executeQuery()));
                    }
                }
                if (mode.equals("extended")) metadata(connection);
                statements(connection, mode);
            }
        }
        StringBuilder out = new StringBuilder("{\"cases\":{");
        cases.forEach((name, rows) -> out.append(quoted(name)).append(':').append(rows).append(','));
        if (!cases.isEmpty()) out.setLength(out.length() - 1);
        out.append("},\"checks\":{");
        checks.forEach((name, how) -> out.append(quoted(name)).append(':').append(quoted(how)).append(','));
        out.setLength(out.length() - 1);
        System.out.print(out.append("}}"));
    }
}
