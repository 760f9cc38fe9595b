//! Whatever bytes come where commands, tickets, handles and actions belong.

use proptest::prelude::*;

use super::*;

/// Bytes that are nothing, almost something, or something of the wrong kind.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let command = prop_oneof![
        any::<String>().prop_map(|query| CommandStatementQuery { query, transaction_id: None }.as_any()),
        prop::collection::vec(any::<u8>(), 0..64).prop_map(|handle| {
            CommandPreparedStatementQuery { prepared_statement_handle: handle.into() }.as_any()
        }),
        prop::collection::vec(any::<u8>(), 0..200)
            .prop_map(|handle| TicketStatementQuery { statement_handle: handle.into() }.as_any()),
        (".{0,20}", ".{0,20}").prop_map(|(catalog, pattern)| {
            CommandGetTables {
                catalog: Some(catalog),
                db_schema_filter_pattern: Some(pattern.clone()),
                table_name_filter_pattern: Some(pattern),
                include_schema: true,
                ..Default::default()
            }
            .as_any()
        }),
        any::<Option<i32>>().prop_map(|data_type| CommandGetXdbcTypeInfo { data_type }.as_any()),
        prop::collection::vec(any::<u32>(), 0..6)
            .prop_map(|info| arrow_flight::sql::CommandGetSqlInfo { info }.as_any()),
        ("[a-zA-Z./]{0,60}", prop::collection::vec(any::<u8>(), 0..60))
            .prop_map(|(type_url, value)| Any { type_url, value: value.into() }),
        prop::collection::vec(any::<u8>(), 0..60).prop_map(|value| Any {
            type_url: "type.googleapis.com/arrow.flight.protocol.sql.CommandStatementQuery".into(),
            value: value.into(),
        }),
    ];
    let changed = (command, any::<prop::sample::Index>(), any::<u8>(), any::<bool>());
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..200),
        changed.prop_map(|(command, at, bits, cut)| {
            let mut bytes = command.encode_to_vec();
            if !bytes.is_empty() {
                let at = at.index(bytes.len());
                bytes[at] ^= bits;
                if cut {
                    bytes.truncate(at);
                }
            }
            bytes
        }),
    ]
}

/// Whether a status is one for a client's fault, with a message of ours.
fn is_told(error: &Status) -> bool {
    let known = [Grpc::InvalidArgument, Grpc::PermissionDenied, Grpc::Unimplemented, Grpc::ResourceExhausted];
    known.contains(&error.code()) && error.metadata().contains_key("x-bailiwick-code")
}

/// Goal: no message breaks the server, gets an answer without being one, or is
/// blamed on the server. Method: random and damaged messages to every method of one server.
#[test]
fn no_message_breaks_it() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let server = runtime.block_on(Server::start(Config::default()));
    let mut anna = runtime.block_on(client(&server, &server.acme));
    let actions = [
        "CreatePreparedStatement",
        "ClosePreparedStatement",
        "CreatePreparedSubstraitPlan",
        "BeginTransaction",
        "EndTransaction",
        "BeginSavepoint",
        "EndSavepoint",
        "CancelQuery",
        "CancelFlightInfo",
        "SetSessionOptions",
        "GetSessionOptions",
        "CloseSession",
        "RenewFlightEndpoint",
        "",
    ];
    let config = ProptestConfig { cases: 200, ..ProptestConfig::default() };
    let mut runner = proptest::test_runner::TestRunner::new(config);
    let input = (bytes(), prop::sample::select(actions.to_vec()), any::<bool>());
    let tried = runner.run(&input, |(bytes, action, with_data)| {
        runtime.block_on(async {
            let descriptor = FlightDescriptor::new_cmd(bytes.clone());
            let mut anna = anna.clone();
            let inner = anna.inner_mut();
            let token = &server.acme;
            let action = Action { r#type: action.into(), body: bytes.clone().into() };
            let put = FlightData {
                flight_descriptor: Some(descriptor.clone()),
                data_header: if with_data { bytes.clone().into() } else { Default::default() },
                data_body: bytes.clone().into(),
                ..Default::default()
            };
            let mut statuses = vec![
                inner.get_flight_info(bearer(descriptor.clone(), token)).await.map(drop),
                inner.get_schema(bearer(descriptor.clone(), token)).await.map(drop),
                inner.poll_flight_info(bearer(descriptor, token)).await.map(drop),
                inner.do_put(bearer(futures::stream::iter([put]), token)).await.map(drop),
            ];
            match inner.do_get(bearer(Ticket::new(bytes.clone()), token)).await {
                Ok(answer) => statuses.push(answer.into_inner().try_collect::<Vec<_>>().await.map(drop)),
                Err(error) => statuses.push(Err(error)),
            }
            match inner.do_action(bearer(action, token)).await {
                Ok(answer) => statuses.push(answer.into_inner().try_collect::<Vec<_>>().await.map(drop)),
                Err(error) => statuses.push(Err(error)),
            }
            for error in statuses.into_iter().filter_map(Result::err) {
                prop_assert!(is_told(&error), "{error:?}");
            }
            Ok(())
        })
    });
    tried.unwrap();
    let rows = runtime.block_on(asked(&mut anna, "SELECT count FROM losses")).unwrap();
    assert_eq!(rows[0].num_rows(), 1, "the server still answers");
}
