//! The protocol through a real client over loopback.

use std::collections::BTreeSet;

use arrow_flight::error::FlightError;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{
    Any, Command, CommandGetDbSchemas, CommandGetPrimaryKeys, CommandGetTables, CommandGetXdbcTypeInfo,
    CommandPreparedStatementQuery, CommandStatementQuery, CommandStatementSubstraitPlan, ProstMessageExt,
    SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, CancelFlightInfoRequest, CancelFlightInfoResult, Criteria, FlightData, FlightDescriptor,
    FlightInfo, Ticket,
};
use bailiwick_proto::Table;
use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Int64Type, Schema};
use datafusion::arrow::util::pretty::pretty_format_batches;
use futures::{StreamExt, TryStreamExt};
use prost::Message;
use tonic::transport::Channel;
use tonic::{Code as Grpc, Request, Status};

use super::*;
use crate::Config;
use crate::http::tests::Server;

mod adbc;
mod hostile;

pub(crate) type Client = FlightSqlServiceClient<Channel>;

const ENDLESS: &str = "SELECT * FROM generate_series(1, 9000000000)";

/// A client that has not said who it is.
pub(crate) async fn connected(url: &str) -> Client {
    Client::new(Channel::from_shared(url.to_owned()).unwrap().connect().await.unwrap())
}

async fn stranger(server: &Server) -> Client {
    connected(&server.url).await
}

async fn client(server: &Server, token: &str) -> Client {
    let mut client = stranger(server).await;
    client.set_token(token.to_owned());
    client
}

pub(crate) fn ticket(info: &FlightInfo) -> Ticket {
    info.endpoint[0].ticket.clone().unwrap()
}

async fn fetched(client: &mut Client, info: &FlightInfo) -> Result<Vec<RecordBatch>, Status> {
    let rows = client.do_get(ticket(info)).await.map_err(status)?;
    rows.try_collect().await.map_err(status)
}

async fn asked(client: &mut Client, sql: &str) -> Result<Vec<RecordBatch>, Status> {
    let info = client.execute(sql.to_owned(), None).await.map_err(status)?;
    fetched(client, &info).await
}

/// The server's status, as the client passes it on.
pub(crate) fn status(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => panic!("{other}"),
    }
}

fn shown(batches: &[RecordBatch]) -> String {
    pretty_format_batches(batches).unwrap().to_string()
}

fn column(batches: &[RecordBatch], name: &str) -> Vec<String> {
    let of = |batch: &RecordBatch| {
        let column = batch.column_by_name(name).unwrap().as_string::<i32>();
        column.iter().flatten().map(str::to_owned).collect::<Vec<_>>()
    };
    batches.iter().flat_map(of).collect()
}

fn bearer<T>(message: T, token: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    request
}

#[tokio::test]
async fn rows_have_public_types_and_a_record() {
    let mut server = Server::start(Config::default()).await;
    let mut anna = client(&server, &server.acme).await;
    let info =
        anna.execute("SELECT tenant, count, row_number() OVER () AS place FROM losses".into(), None).await;
    let info = info.unwrap();
    let described = Schema::try_from(info.clone()).unwrap();
    let rows = fetched(&mut anna, &info).await.unwrap();
    assert_eq!(*rows[0].schema(), described);
    assert_eq!(described.field(2).data_type(), &DataType::Int64);
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 1, "{}", shown(&rows));
    assert_eq!(rows[0].column(1).as_primitive::<Int64Type>().value(0), 9_007_199_254_740_993);
    let record = server.served.record().await;
    let found = [&record["endpoint"], &record["outcome"], &record["principal"], &record["rows"]];
    assert_eq!(found, ["flight", "ok", "anna", "1"]);

    let answer = anna.inner_mut().do_get(bearer(ticket(&info), &server.acme)).await.unwrap();
    let id = answer.metadata().get("x-bailiwick-query-id").unwrap().to_str().unwrap().to_owned();
    answer.into_inner().try_collect::<Vec<_>>().await.unwrap();
    assert_eq!(server.served.record().await["query_id"], id);
    let none = asked(&mut anna, "SELECT count FROM losses WHERE false").await.unwrap();
    assert_eq!(none.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
}

#[tokio::test]
async fn a_token_logs_in_as_password_or_bearer_and_nothing_else_does() {
    let server = Server::start(Config::default()).await;
    let mut anna = stranger(&server).await;
    anna.handshake("whoever", &server.acme).await.unwrap();
    assert_eq!(asked(&mut anna, "SELECT tenant FROM losses").await.unwrap()[0].num_rows(), 1);
    let wrong = format!("{}0", server.acme);
    let error = stranger(&server).await.handshake("anna", &wrong).await.unwrap_err().to_string();
    assert!(error.contains("token"), "{error}");
    for mut stranger in [stranger(&server).await, client(&server, &wrong).await] {
        let error = stranger.execute("SELECT 1".into(), None).await.map_err(status).unwrap_err();
        assert_eq!(error.code(), Grpc::Unauthenticated, "{error}");
        let inner = stranger.inner_mut();
        let calls = [
            inner.list_actions(arrow_flight::Empty {}).await.map(drop),
            inner.list_flights(Criteria::default()).await.map(drop),
            inner.get_schema(FlightDescriptor::default()).await.map(drop),
            inner.poll_flight_info(FlightDescriptor::default()).await.map(drop),
            inner.do_get(Ticket::default()).await.map(drop),
            inner.do_action(Action::default()).await.map(drop),
            inner.do_put(futures::stream::iter([FlightData::default()])).await.map(drop),
            inner.do_exchange(futures::stream::iter([FlightData::default()])).await.map(drop),
        ];
        for call in calls {
            assert_eq!(call.unwrap_err().code(), Grpc::Unauthenticated);
        }
    }
}

/// Goal: a ticket is worth nothing in other hands, changed, or made up.
#[tokio::test]
async fn a_ticket_is_its_askers_alone() {
    let server = Server::start(Config::default()).await;
    let mut anna = client(&server, &server.acme).await;
    let info = anna.execute("SELECT * FROM losses".into(), None).await.unwrap();
    for other in [&server.globex, &server.admin] {
        let mut other = client(&server, other).await;
        assert_eq!(fetched(&mut other, &info).await.unwrap_err().code(), Grpc::PermissionDenied);
    }
    let any = Any::decode(&ticket(&info).ticket[..]).unwrap();
    let Ok(Command::TicketStatementQuery(made)) = Command::try_from(any) else { panic!() };
    let mut changed = made.statement_handle.to_vec();
    let length = changed.len();
    changed[length - 40] ^= 1;
    for forged in [changed, b"SELECT 1".to_vec(), Vec::new()] {
        let forged = TicketStatementQuery { statement_handle: forged.into() };
        let forged = Ticket::new(forged.as_any().encode_to_vec());
        let error = anna.do_get(forged).await.map_err(status).unwrap_err();
        assert_eq!(error.code(), Grpc::PermissionDenied, "{error}");
    }
    assert_eq!(fetched(&mut anna, &info).await.unwrap()[0].num_rows(), 1);
}

#[tokio::test]
async fn prepared_statements_take_values_and_are_their_owners_alone() {
    let mut server = Server::start(Config::default()).await;
    let mut anna = client(&server, &server.acme).await;
    let values = |count: i64, text: &str| -> RecordBatch {
        let columns: [(&str, ArrayRef); 2] =
            [("0", Arc::new(Int64Array::from(vec![count]))), ("1", Arc::new(StringArray::from(vec![text])))];
        RecordBatch::try_from_iter(columns).unwrap()
    };
    for sql in [
        "SELECT count, $2 AS t FROM losses WHERE count > $1",
        "SELECT count, ? IS NULL AS t FROM losses WHERE reason <> ?",
    ] {
        let mut prepared = anna.prepare(sql.into(), None).await.unwrap();
        assert_eq!(prepared.parameter_schema().unwrap().fields().len(), 2);
        let (few, text) = if sql.contains('?') { (1, "x") } else { (0, "x") };
        prepared.set_parameters(values(few, text)).unwrap();
        let info = prepared.execute().await.unwrap();
        assert_eq!(fetched(&mut anna, &info).await.unwrap()[0].num_rows(), 1, "{sql}");
        let mut gus = client(&server, &server.globex).await;
        let stolen = fetched(&mut gus, &info).await.unwrap_err();
        assert_eq!(stolen.code(), Grpc::InvalidArgument);
        assert!(stolen.message().contains("no such prepared statement of yours"), "{stolen}");
        prepared.close().await.unwrap();
        let closed = fetched(&mut anna, &info).await.unwrap_err();
        assert_eq!(closed.message(), stolen.message(), "it tells whether a handle is somebody's");
    }
    let mut prepared = anna.prepare("SELECT $1 AS one".into(), None).await.unwrap();
    let missing = prepared.execute().await;
    let info = missing.unwrap();
    let error = fetched(&mut anna, &info).await.unwrap_err();
    assert_eq!(error.code(), Grpc::InvalidArgument, "a value is missing: {error}");
    let record = loop {
        let record = server.served.record().await;
        if record["outcome"] == "failed" {
            break record;
        }
    };
    assert!(error.message().contains(&record["query_id"]), "{error}");
}

#[tokio::test]
async fn a_statement_may_name_its_parameters() {
    let server = Server::start(Config::default()).await;
    let mut anna = client(&server, &server.acme).await;
    let mut prepared = anna.prepare("SELECT $b || '!' AS b, $a + 1 AS a".into(), None).await.unwrap();
    let names: Vec<_> =
        prepared.parameter_schema().unwrap().fields().iter().map(|field| field.name().clone()).collect();
    assert_eq!(names, ["$a", "$b"]);
    let columns: [(&str, ArrayRef); 2] =
        [("b", Arc::new(StringArray::from(vec!["x"]))), ("$a", Arc::new(Int64Array::from(vec![6])))];
    prepared.set_parameters(RecordBatch::try_from_iter(columns).unwrap()).unwrap();
    let info = prepared.execute().await.unwrap();
    let rows = fetched(&mut anna, &info).await.unwrap();
    assert!(shown(&rows).contains("| x! | 7 |"), "{}", shown(&rows));
}

/// Goal: everything that writes, and what is not there, is refused with a status
/// that says so and a message that a person understands.
#[tokio::test]
async fn what_writes_is_refused() {
    let mut server = Server::start(Config::default()).await;
    let mut anna = client(&server, &server.acme).await;
    let update =
        anna.execute_update("INSERT INTO losses VALUES (1)".into(), None).await.map_err(status).unwrap_err();
    assert_eq!(update.code(), Grpc::PermissionDenied);
    assert!(update.message().contains("not allowed"), "{update}");
    let drop_table = anna.execute("DROP TABLE losses".into(), None).await.map_err(status).unwrap_err();
    assert_eq!(drop_table.code(), Grpc::PermissionDenied);
    assert_eq!(server.served.record().await["outcome"], "refused");
    let prepared = anna.prepare("DELETE FROM losses".into(), None).await.map_err(status).unwrap_err();
    assert_eq!(prepared.code(), Grpc::PermissionDenied);
    assert_eq!(anna.begin_transaction().await.map_err(status).unwrap_err().code(), Grpc::Unimplemented);
    let in_transaction = anna.execute("SELECT 1".into(), Some(b"t".to_vec().into())).await;
    assert_eq!(in_transaction.map_err(status).unwrap_err().code(), Grpc::Unimplemented);
    let substrait =
        FlightDescriptor::new_cmd(CommandStatementSubstraitPlan::default().as_any().encode_to_vec());
    let substrait = anna.inner_mut().get_flight_info(bearer(substrait, &server.acme)).await.unwrap_err();
    assert_eq!(substrait.code(), Grpc::Unimplemented);
    assert!(substrait.message().contains("ask in SQL"), "{substrait}");
    let ingest = arrow_flight::sql::CommandStatementIngest { table: "losses".into(), ..Default::default() };
    let rows = futures::stream::iter([Ok(RecordBatch::new_empty(Table::Losses.public_schema()))]);
    let ingest = anna.execute_ingest(ingest, rows).await.map_err(status).unwrap_err();
    assert_eq!(ingest.code(), Grpc::PermissionDenied, "{ingest}");
    let exchange = bearer(futures::stream::iter([FlightData::default()]), &server.acme);
    assert_eq!(anna.inner_mut().do_exchange(exchange).await.unwrap_err().code(), Grpc::Unimplemented);
    let files = anna.execute("SELECT * FROM '/etc/passwd'".into(), None).await.map_err(status).unwrap_err();
    assert_eq!(files.code(), Grpc::InvalidArgument, "{files}");
}

#[tokio::test]
async fn errors_have_codes_and_the_querys_id() {
    let endless = "SELECT count(*) FROM generate_series(1, 9000000000000) a WHERE sqrt(a.value) < 0";
    for (sql, code, query_timeout_ms) in [
        ("SELEC 1", Grpc::InvalidArgument, 60_000),
        ("SELECT nope FROM losses", Grpc::InvalidArgument, 60_000),
        ("SELECT 1 / (count - count) FROM losses", Grpc::InvalidArgument, 60_000),
        (endless, Grpc::DeadlineExceeded, 2_000),
    ] {
        let mut server = Server::start(Config { query_timeout_ms, ..Config::default() }).await;
        let mut anna = client(&server, &server.acme).await;
        let error = asked(&mut anna, sql).await.unwrap_err();
        assert_eq!(error.code(), code, "{sql}: {error}");
        let id = &server.served.record().await["query_id"];
        assert!(error.message().contains(id), "{sql}: {error}");
        assert_eq!(error.metadata().get("x-bailiwick-query-id").unwrap().to_str().unwrap(), id);
        assert!(error.metadata().contains_key("x-bailiwick-code"));
    }
}

#[tokio::test]
async fn big_answers_come_whole_or_end_with_an_error() {
    let server = Server::start(Config { max_rows: 300_000, ..Config::default() }).await;
    let mut anna = client(&server, &server.acme).await;
    let rows =
        asked(&mut anna, "SELECT value, 'row ' || value FROM generate_series(1, 300000)").await.unwrap();
    assert_eq!(rows.iter().map(RecordBatch::num_rows).sum::<usize>(), 300_000);
    let cut = asked(&mut anna, "SELECT value FROM generate_series(1, 300001)").await.unwrap_err();
    assert_eq!(cut.code(), Grpc::ResourceExhausted);
    assert!(cut.message().contains("300000 rows"), "{cut}");
    let breaks = asked(&mut anna, "SELECT 1 / (value - 200000) FROM generate_series(1, 300000)").await;
    assert_eq!(breaks.unwrap_err().code(), Grpc::InvalidArgument);
}

/// Goal: a query ends when its client says so, in any of the protocol's ways, and
/// at nobody else's word.
#[tokio::test]
async fn queries_are_cancelled_by_their_askers() {
    let mut server = Server::start(Config::default()).await;
    let mut anna = client(&server, &server.acme).await;
    let info = anna.execute(ENDLESS.into(), None).await.unwrap();
    let mut rows = anna.do_get(ticket(&info)).await.unwrap();
    rows.next().await.unwrap().unwrap();
    drop(rows);
    assert_eq!(server.served.record().await["outcome"], "cancelled", "dropping the stream");

    let cancel = async |client: &mut Client, token: &str, info: &FlightInfo| {
        let body = CancelFlightInfoRequest { info: Some(info.clone()) }.encode_to_vec();
        let action = Action { r#type: "CancelFlightInfo".into(), body: body.into() };
        let answer = client.inner_mut().do_action(bearer(action, token)).await.unwrap();
        let answer = answer.into_inner().message().await.unwrap().unwrap();
        CancelFlightInfoResult::decode(answer.body).unwrap().status
    };
    let mut rows = anna.do_get(ticket(&info)).await.unwrap();
    rows.next().await.unwrap().unwrap();
    let mut gus = client(&server, &server.globex).await;
    assert_eq!(cancel(&mut gus, &server.globex, &info).await, 3, "somebody else's");
    rows.next().await.unwrap().unwrap();
    assert_eq!(cancel(&mut anna, &server.acme, &info).await, 1);
    let error = rows.try_collect::<Vec<_>>().await.map_err(status).unwrap_err();
    assert_eq!(error.code(), Grpc::Cancelled);
    assert_eq!(server.served.record().await["outcome"], "cancelled");
    assert_eq!(cancel(&mut anna, &server.acme, &info).await, 3, "nothing runs any more");

    let mut prepared = anna.prepare(ENDLESS.into(), None).await.unwrap();
    let info = prepared.execute().await.unwrap();
    let mut rows = anna.do_get(ticket(&info)).await.unwrap();
    rows.next().await.unwrap().unwrap();
    assert_eq!(cancel(&mut anna, &server.acme, &info).await, 1);
    assert!(rows.try_collect::<Vec<_>>().await.is_err());
}

#[tokio::test]
async fn the_catalog_is_the_principals() {
    let server = Server::start(Config::default()).await;
    let mut anna = client(&server, &server.acme).await;
    let info = anna.get_catalogs().await.unwrap();
    assert_eq!(column(&fetched(&mut anna, &info).await.unwrap(), "catalog_name"), ["bailiwick"]);
    let schemas = CommandGetDbSchemas { catalog: None, db_schema_filter_pattern: Some("pub%".into()) };
    let info = anna.get_db_schemas(schemas).await.unwrap();
    assert_eq!(column(&fetched(&mut anna, &info).await.unwrap(), "db_schema_name"), ["public"]);
    let tables = CommandGetTables {
        db_schema_filter_pattern: Some("public".into()),
        table_name_filter_pattern: Some("%".into()),
        include_schema: true,
        ..Default::default()
    };
    let info = anna.get_tables(tables.clone()).await.unwrap();
    let found = fetched(&mut anna, &info).await.unwrap();
    let names: BTreeSet<String> = column(&found, "table_name").into_iter().collect();
    for table in Table::ALL {
        assert!(names.contains(table.name()), "{table}: {names:?}");
    }
    let schemas = found[0].column_by_name("table_schema").unwrap().as_binary::<i32>();
    for (name, schema) in column(&found, "table_name").iter().zip(schemas) {
        let message = arrow_flight::IpcMessage(schema.unwrap().to_vec().into());
        let schema = Schema::try_from(message).unwrap();
        if let Some(table) = Table::ALL.into_iter().find(|table| table.name() == name) {
            let public = table.public_schema();
            let names = |schema: &Schema| {
                schema.fields().iter().map(|field| field.name().clone()).collect::<Vec<_>>()
            };
            assert_eq!(names(&schema), names(&public));
        }
    }
    let info =
        anna.get_tables(CommandGetTables { table_types: vec!["VIEW".into()], ..tables }).await.unwrap();
    assert!(
        column(&fetched(&mut anna, &info).await.unwrap(), "table_name")
            .contains(&"syscalls_named".to_owned())
    );
    let info = anna.get_table_types().await.unwrap();
    assert_eq!(
        column(&fetched(&mut anna, &info).await.unwrap(), "table_type"),
        ["SYSTEM TABLE", "TABLE", "VIEW"]
    );
}

#[tokio::test]
async fn the_server_tells_what_it_can_do() {
    let server = Server::start(Config::default()).await;
    let mut anna = client(&server, &server.acme).await;
    let info = anna
        .get_sql_info(vec![SqlInfo::FlightSqlServerName, SqlInfo::FlightSqlServerReadOnly])
        .await
        .unwrap();
    let infos = shown(&fetched(&mut anna, &info).await.unwrap());
    assert!(infos.contains("Bailiwick") && infos.contains("true"), "{infos}");
    let info = anna.get_sql_info(Vec::new()).await.unwrap();
    assert!(fetched(&mut anna, &info).await.unwrap()[0].num_rows() > 30);
    let info = anna.get_xdbc_type_info(CommandGetXdbcTypeInfo { data_type: None }).await.unwrap();
    let types = column(&fetched(&mut anna, &info).await.unwrap(), "type_name");
    assert!(types.contains(&"timestamp with time zone".to_owned()), "{types:?}");
    let keys = CommandGetPrimaryKeys { catalog: None, db_schema: None, table: "losses".into() };
    let info = anna.get_primary_keys(keys).await.unwrap();
    let keys = fetched(&mut anna, &info).await.unwrap();
    assert_eq!(keys.iter().map(RecordBatch::num_rows).sum::<usize>(), 0);
    assert_eq!(Schema::try_from(info).unwrap().field(5).name(), "key_sequence");
    let actions = anna.inner_mut().list_actions(bearer(arrow_flight::Empty {}, &server.acme)).await.unwrap();
    let actions: Vec<_> = actions.into_inner().try_collect().await.unwrap();
    assert!(actions.iter().any(|action| action.r#type == "CancelFlightInfo"));
    let command = CommandStatementQuery { query: "SELECT count FROM losses".into(), transaction_id: None };
    let descriptor = FlightDescriptor::new_cmd(command.as_any().encode_to_vec());
    let schema = anna.inner_mut().get_schema(bearer(descriptor.clone(), &server.acme)).await.unwrap();
    assert_eq!(Schema::try_from(&schema.into_inner()).unwrap().field(0).name(), "count");
    let polled =
        anna.inner_mut().poll_flight_info(bearer(descriptor, &server.acme)).await.unwrap().into_inner();
    assert!(polled.flight_descriptor.is_none(), "it is complete");
    assert_eq!(fetched(&mut anna, &polled.info.unwrap()).await.unwrap()[0].num_rows(), 1);
}

#[tokio::test]
async fn stopping_ends_answers_that_are_under_way() {
    let mut server = Server::start(Config::default()).await;
    let mut anna = client(&server, &server.acme).await;
    let info = anna.execute(ENDLESS.into(), None).await.unwrap();
    let mut rows = anna.do_get(ticket(&info)).await.unwrap();
    rows.next().await.unwrap().unwrap();
    server.stop.cancel();
    assert!(rows.try_collect::<Vec<_>>().await.is_err());
    assert_eq!(server.served.record().await["outcome"], "cancelled");
}

/// Goal: a token that is withdrawn ends what was begun with it.
#[tokio::test]
async fn a_handle_does_not_outlive_its_token() {
    let server = Server::start(Config::default()).await;
    let mut anna = client(&server, &server.acme).await;
    let prepared = anna.prepare("SELECT 1".into(), None).await.unwrap();
    let info = anna.execute("SELECT 1".into(), None).await.unwrap();
    let file = server.served.engine.config().tokens_file.clone().unwrap();
    crate::tokens::remove(&file, "anna").unwrap();
    let error = loop {
        match fetched(&mut anna, &info).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), Grpc::Unauthenticated);
    drop(prepared);
}
