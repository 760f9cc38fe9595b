// node-postgres: parameters, arrays, named statements, cursors, streams, cancelling.
'use strict';

const assert = require('node:assert');
const fs = require('node:fs');
const { Client, Pool, types } = require('pg');
const Cursor = require('pg-cursor');
const QueryStream = require('pg-query-stream');

const NUMBERS = "SELECT value::bigint AS n, 'row ' || value AS label FROM generate_series(1, 1000) AS t(value) ORDER BY 1";
const ENDLESS = 'SELECT sum(value % 7) FROM generate_series(1, 1000000000000) AS t(value)';
const report = { cases: {}, checks: {} };

/** A cell in the form that is compared: null, a text, or a list of cells. */
function plain(value) {
  if (value === null || value === undefined) return null;
  if (Array.isArray(value)) return value.map(plain);
  if (Buffer.isBuffer(value)) return value.toString('hex');
  if (value instanceof Date) return value.toISOString();
  return String(value);
}

// A Date has milliseconds and a zone of its own, so times and dates stay texts here.
const text = (oid) => types.setTypeParser(oid, (value) => value);
[1082, 1114, 1184].forEach(text);

async function check(name, work) {
  try {
    await work();
    report.checks[name] = 'ok';
  } catch (error) {
    report.checks[name] = String(error.stack).slice(0, 1500);
  }
}

async function fails(work, code) {
  await assert.rejects(work, (error) => {
    assert.strictEqual(error.code, code, `${error.code} in place of ${code}: ${error.message}`);
    return true;
  });
}

async function connected(options) {
  const client = new Client(options);
  await client.connect();
  return client;
}

async function main() {
  const client = await connected();
  const statements = JSON.parse(fs.readFileSync(process.argv[2]));
  for (const [name, statement] of Object.entries(statements)) {
    const result = await client.query({ text: statement, rowMode: 'array' });
    report.cases[name] = result.rows.map((row) => row.map(plain));
  }

  await check('parameters come back', async () => {
    const times = new Date('2026-11-24T10:00:00.001Z');
    const query = 'SELECT $1::text AS a, $2::bigint AS b, $3::double precision AS c, $4::boolean AS d, $5::bytea AS e, $6::text[] AS f';
    const values = ["é'\"\\", '9007199254740993', 1.5, true, Buffer.from([0, 255]), ['a', 'b,c', null]];
    const { rows } = await client.query(query, values);
    assert.deepStrictEqual(Object.values(rows[0]).map(plain), values.map(plain));
    const at = await client.query('SELECT extract(epoch from $1::timestamptz) AS at', [times]);
    assert.strictEqual(Number(at.rows[0].at), times.getTime() / 1000);
    const none = await client.query('SELECT $1::text AS a', [null]);
    assert.strictEqual(none.rows[0].a, null);
  });

  await check('any of an array', async () => {
    const numbers = await client.query(
      'SELECT count(*) AS n FROM generate_series(1, 1000) AS t(n) WHERE n = ANY($1)', [[5, 6, 2000]]);
    assert.strictEqual(numbers.rows[0].n, '2');
    const texts = await client.query(
      "SELECT count(*) AS n FROM (VALUES ('a'), ('b'), ('c')) AS t(n) WHERE n = ANY($1)", [['a', 'c', 'x,y']]);
    assert.strictEqual(texts.rows[0].n, '2');
    const none = await client.query(
      "SELECT count(*) AS n FROM (VALUES ('a'), ('b'), ('c')) AS t(n) WHERE n <> ALL($1)", [['a', 'c']]);
    assert.strictEqual(none.rows[0].n, '1');
    const empty = await client.query('SELECT count(*) AS n FROM queries WHERE sql = ANY($1)', [[]]);
    assert.strictEqual(empty.rows[0].n, '0');
    const times = await client.query(
      'SELECT count(*) AS n FROM queries WHERE NOT (time = ANY($1::timestamptz[]))', [[new Date(0)]]);
    assert.ok(Number(times.rows[0].n) >= 0);
  });

  await check('a named statement is used again', async () => {
    for (let number = 0; number < 20; number += 1) {
      const query = { name: 'twice', text: 'SELECT $1::int * 2 AS n', values: [number] };
      const { rows } = await client.query(query);
      assert.strictEqual(Number(rows[0].n), number * 2);
    }
  });

  await check('binary results', async () => {
    const query = { text: "SELECT 7::bigint AS a, 'x' AS b, true AS c, 1.5::double precision AS d", binary: true };
    const { rows } = await client.query(query);
    assert.deepStrictEqual(Object.values(rows[0]).map(plain), ['7', 'x', 'true', '1.5']);
  });

  await check('a cursor reads in portions', async () => {
    const cursor = client.query(new Cursor(NUMBERS));
    assert.strictEqual((await cursor.read(10)).length, 10);
    assert.strictEqual((await cursor.read(1000)).length, 990);
    assert.strictEqual((await cursor.read(10)).length, 0);
    await cursor.close();
    const early = client.query(new Cursor('SELECT value FROM generate_series(1, 1000000) AS t(value) WHERE value > $1', [0]));
    assert.strictEqual((await early.read(5)).length, 5);
    await early.close();
    assert.strictEqual((await client.query('SELECT 1 AS a')).rows.length, 1);
  });

  await check('a stream reads everything', async () => {
    const stream = client.query(new QueryStream(NUMBERS, [], { batchSize: 64 }));
    let count = 0;
    for await (const row of stream) {
      count += 1;
      assert.strictEqual(Number(row.n), count);
    }
    assert.strictEqual(count, 1000);
  });

  await check('several statements', async () => {
    const results = await client.query("SET TIME ZONE 'UTC'; SELECT 1 AS a; SELECT 2 AS a");
    assert.deepStrictEqual(results.map((result) => result.command), ['SET', 'SELECT', 'SELECT']);
    assert.strictEqual(Number(results[2].rows[0].a), 2);
  });

  await check('transactions', async () => {
    await client.query('BEGIN READ ONLY');
    await client.query('SAVEPOINT a');
    await assert.rejects(client.query('SELECT nope'));
    await fails(client.query('SELECT 1'), '25P02');
    await client.query('ROLLBACK TO SAVEPOINT a');
    await client.query('RELEASE SAVEPOINT a');
    assert.strictEqual((await client.query('SELECT 1')).rowCount, 1);
    assert.strictEqual((await client.query('COMMIT')).command, 'COMMIT');
  });

  await check('a running statement is cancelled', async () => {
    const other = await connected();
    const asked = fails(other.query(ENDLESS), '57014');
    // Again until it hits: the statement may not have begun yet.
    const request = setInterval(() => cancelRequest(other), 100);
    await asked;
    clearInterval(request);
    assert.strictEqual((await other.query('SELECT 1')).rowCount, 1);
    await other.end();
  });

  await check("the client's time limit holds", async () => {
    const other = await connected({ statement_timeout: 100 });
    await fails(other.query(ENDLESS), '57014');
    await other.end();
  });

  await check('a pool', async () => {
    const pool = new Pool({ max: 3 });
    const asked = Array.from({ length: 20 }, (_, number) => pool.query('SELECT $1::int AS n', [number]));
    const numbers = (await Promise.all(asked)).map((result) => Number(result.rows[0].n));
    assert.deepStrictEqual(numbers, Array.from({ length: 20 }, (_, number) => number));
    await pool.end();
  });

  await check('errors', async () => {
    await fails(client.query('SELEC 1'), '42601');
    await fails(client.query('DROP TABLE queries'), '42501');
    await fails(client.query('SELECT $1::int', ['x']), '22P02');
    await fails(client.query('COPY queries FROM STDIN'), '42501');
  });

  await client.end();
  process.stdout.write(JSON.stringify(report));
}

/** The driver has no call for it; this is the request that libpq sends. */
function cancelRequest(client) {
  const net = require('node:net');
  const request = Buffer.alloc(16);
  request.writeInt32BE(16, 0);
  request.writeInt32BE(80877102, 4);
  request.writeInt32BE(client.processID, 8);
  request.writeInt32BE(client.secretKey, 12);
  const socket = net.connect(Number(process.env.PGPORT), process.env.PGHOST, () => socket.end(request));
  socket.on('error', () => {});
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
