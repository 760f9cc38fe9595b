//! Statements, prepared statements and their cancelling; everything that would write is refused.

use std::sync::Arc;
use std::time::Instant;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::server::{DoPutError, FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionBeginSavepointRequest, ActionBeginSavepointResult, ActionBeginTransactionRequest,
    ActionBeginTransactionResult, ActionCancelQueryRequest, ActionCancelQueryResult,
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, ActionCreatePreparedSubstraitPlanRequest, ActionEndSavepointRequest,
    ActionEndTransactionRequest, Any, Command, CommandPreparedStatementQuery, CommandPreparedStatementUpdate,
    CommandStatementIngest, CommandStatementQuery, CommandStatementSubstraitPlan, CommandStatementUpdate,
    DoPutPreparedStatementResult, SqlInfo, TicketStatementQuery,
};
use arrow_flight::{
    Action, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest, HandshakeResponse, IpcMessage,
    SchemaAsIpc, Ticket as Wrapped,
};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use chrono::Utc;
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use futures::StreamExt;
use prost::Message;
use prost::bytes::Bytes;
use tokio_util::sync::CancellationToken;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status, Streaming};

use super::answer::{self, Messages};
use super::info::Infos;
use super::metadata::{Asked, packed};
use super::placeholders::numbered;
use super::prepared::Prepared;
use super::status::{refused, told};
use super::tickets::{Ticket, Tickets};
use super::{session, values};
use crate::columns::{public_schema, public_type};
use crate::engine::Parameter;
use crate::{Ask, Code, Endpoint, Engine, Principal, QueryError};

/// `CancelStatus` and `CancelResult` count the same.
const CANCELLED: i32 = 1;
const NOT_CANCELLABLE: i32 = 3;

/// The protocol's commands.
#[derive(Clone)]
pub(super) struct Service {
    shared: Arc<Shared>,
}

struct Shared {
    engine: Arc<Engine>,
    stop: CancellationToken,
    tickets: Tickets,
    prepared: Prepared,
    infos: Infos,
}

type HandshakeStream = <Service as FlightService>::HandshakeStream;

// === impl Service ===

impl Service {
    pub(super) fn new(engine: Arc<Engine>, stop: CancellationToken) -> Result<Self, QueryError> {
        let config = engine.config();
        let infos =
            Infos::new(config.query_timeout_ms, config.max_sql_bytes).map_err(QueryError::internal)?;
        let (tickets, prepared) = (Tickets::new(&rand::random()), Prepared::default());
        Ok(Self { shared: Arc::new(Shared { engine, stop, tickets, prepared, infos }) })
    }

    /// What a question about the catalog is answered with.
    pub(super) async fn about(&self, asked: Asked, who: &Principal) -> Result<Response<Messages>, Status> {
        let answered = asked.answer(&self.shared.engine, who, &self.shared.infos).await;
        Ok(answer::batch(answered.map_err(|error| told(&error))?))
    }

    async fn describe(&self, who: &Principal, ask: Ask) -> Result<(Schema, Vec<Parameter>), Status> {
        let described = self.shared.engine.describe(who, Endpoint::Flight, ask).await;
        let (columns, parameters) = described.map_err(|error| told(&error))?;
        Ok((Schema::clone(&public_schema(&columns)), parameters))
    }

    async fn run(&self, who: &Principal, ask: Ask) -> Result<Response<Messages>, Status> {
        let running = self.shared.engine.ask(who, Endpoint::Flight, ask).await;
        let running = running.map_err(|error| told(&error))?;
        Ok(answer::rows(running, self.shared.stop.clone()))
    }

    /// A prepared statement of the caller's, as it is bound now.
    fn bound(&self, who: &Principal, handle: &[u8]) -> Result<Ask, Status> {
        let (handle, bound) = self.shared.prepared.get(&who.fingerprint(), handle, Instant::now())?;
        Ok(Ask { sql: bound.sql, params: bound.params, handle: Some(handle), ..Ask::default() })
    }

    /// Cancels what runs because of an answer to GetFlightInfo.
    fn cancel(&self, who: &Principal, info: &FlightInfo) -> i32 {
        let tickets = info.endpoint.iter().filter_map(|endpoint| endpoint.ticket.as_ref());
        let handles = tickets.filter_map(|ticket| self.handle(who, &ticket.ticket));
        let ended = handles.map(|handle| self.shared.engine.cancel_handle(who, handle));
        // All of them are tried, not only those up to the first that ran.
        let ended = ended.fold(false, |any, ended| any | ended);
        if ended { CANCELLED } else { NOT_CANCELLABLE }
    }

    fn handle(&self, who: &Principal, ticket: &[u8]) -> Option<u128> {
        match Command::try_from(Any::decode(ticket).ok()?).ok()? {
            Command::TicketStatementQuery(ticket) => {
                let (owner, now_s) = (who.fingerprint(), Utc::now().timestamp());
                Some(self.shared.tickets.read(&ticket.statement_handle, &owner, now_s)?.handle)
            }
            Command::CommandPreparedStatementQuery(command) => {
                command.prepared_statement_handle.as_ref().try_into().map(u128::from_be_bytes).ok()
            }
            _ => None,
        }
    }
}

/// Who calls, as the login has found out.
pub(super) fn caller<T>(request: &Request<T>) -> Result<Principal, Status> {
    let principal = request.extensions().get::<Principal>().cloned();
    principal.ok_or_else(|| refused(Code::Unauthenticated, "send a token"))
}

/// Where the rows of a description are to be had.
pub(super) fn info(
    schema: &Schema,
    ticket: Vec<u8>,
    descriptor: FlightDescriptor,
) -> Result<FlightInfo, Status> {
    let info =
        FlightInfo::new().try_with_schema(schema).map_err(|error| told(&QueryError::internal(error)))?;
    let endpoint = FlightEndpoint::new().with_ticket(Wrapped::new(ticket));
    Ok(info.with_endpoint(endpoint).with_descriptor(descriptor))
}

/// A statement's parameters as columns; a type that does not follow from the statement is null.
fn columns_of(parameters: &[Parameter]) -> Schema {
    let field = |parameter: &Parameter| {
        let kind = parameter.kind.as_ref().map_or(DataType::Null, public_type);
        Field::new(&parameter.name, kind, true)
    };
    Schema::new(parameters.iter().map(field).collect::<Vec<_>>())
}

fn encoded(schema: &Schema) -> Result<Bytes, Status> {
    let options = Default::default();
    let message = IpcMessage::try_from(SchemaAsIpc::new(schema, &options));
    Ok(message.map_err(|error| told(&QueryError::internal(error)))?.0)
}

fn no_transactions(id: Option<&Bytes>) -> Result<(), Status> {
    match id {
        None => Ok(()),
        Some(_) => Err(refused(Code::NotSupported, "there are no transactions: nothing can be written")),
    }
}

fn read_only<T>(what: &str) -> Result<T, Status> {
    Err(refused(
        Code::NotAllowed,
        format!("{what} not allowed: Bailiwick is asked, with SELECT, and not written to"),
    ))
}

fn no_substrait<T>() -> Result<T, Status> {
    Err(refused(Code::NotSupported, "Substrait plans are not supported: ask in SQL"))
}

/// The password in `authorization: Basic …`; the user's name does not matter.
fn basic<T>(request: &Request<T>) -> Option<String> {
    let (scheme, encoded) = request.metadata().get("authorization")?.to_str().ok()?.split_once(' ')?;
    let decoded =
        scheme.eq_ignore_ascii_case("basic").then(|| BASE64_STANDARD.decode(encoded.trim()).ok())??;
    Some(String::from_utf8(decoded).ok()?.split_once(':')?.1.to_owned())
}

#[tonic::async_trait]
impl FlightSqlService for Service {
    type FlightService = Self;

    /// A token as the password is answered with itself, to be sent as Bearer from then on.
    async fn do_handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<HandshakeStream>, Status> {
        let missing = || refused(Code::Unauthenticated, "send any user name and a token as its password");
        let token = basic(&request).ok_or_else(missing)?;
        if self.shared.engine.authenticate(&token).await.is_none() {
            return Err(refused(Code::Unauthenticated, "the token is not known or has expired"));
        }
        let bearer = MetadataValue::try_from(format!("Bearer {token}")).map_err(|_| missing())?;
        let answer = HandshakeResponse { protocol_version: 0, payload: token.into() };
        let mut response = Response::new(futures::stream::iter([Ok(answer)]).boxed() as HandshakeStream);
        response.metadata_mut().insert("authorization", bearer);
        Ok(response)
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let who = caller(&request)?;
        no_transactions(query.transaction_id.as_ref())?;
        let (schema, _) = self.describe(&who, Ask::new(&query.query)).await?;
        let ticket = Ticket { handle: rand::random(), sql: query.query };
        let ticket = self.shared.tickets.make(&ticket, &who.fingerprint(), Utc::now().timestamp());
        let ticket = packed(&TicketStatementQuery { statement_handle: ticket.into() });
        Ok(Response::new(info(&schema, ticket, request.into_inner())?))
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let who = caller(&request)?;
        let ask = self.bound(&who, &query.prepared_statement_handle)?;
        let (schema, _) = self.describe(&who, ask).await?;
        Ok(Response::new(info(&schema, packed(&query), request.into_inner())?))
    }

    async fn get_flight_info_substrait_plan(
        &self,
        _plan: CommandStatementSubstraitPlan,
        _request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        no_substrait()
    }

    async fn get_flight_info_fallback(
        &self,
        command: Command,
        _request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let name: String = command.type_url().chars().take(100).collect();
        Err(refused(Code::NotSupported, format!("the command {name:?} is not known")))
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        request: Request<Wrapped>,
    ) -> Result<Response<Messages>, Status> {
        let who = caller(&request)?;
        let (owner, now_s) = (who.fingerprint(), Utc::now().timestamp());
        let Some(ticket) = self.shared.tickets.read(&ticket.statement_handle, &owner, now_s) else {
            return Err(refused(
                Code::NotAllowed,
                "the ticket is not yours, not this server's, or too old: ask again",
            ));
        };
        self.run(&who, Ask { sql: ticket.sql, handle: Some(ticket.handle), ..Ask::default() }).await
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Wrapped>,
    ) -> Result<Response<Messages>, Status> {
        let who = caller(&request)?;
        let ask = self.bound(&who, &query.prepared_statement_handle)?;
        self.run(&who, ask).await
    }

    async fn do_get_fallback(
        &self,
        _request: Request<Wrapped>,
        message: Any,
    ) -> Result<Response<Messages>, Status> {
        let name: String = message.type_url.chars().take(100).collect();
        Err(refused(Code::NotSupported, format!("a ticket of the kind {name:?} is not known")))
    }

    async fn do_put_fallback(
        &self,
        _request: Request<PeekableFlightDataStream>,
        _message: Any,
    ) -> Result<Response<<Self as FlightService>::DoPutStream>, Status> {
        read_only("putting data is")
    }

    async fn do_put_error_callback(
        &self,
        _request: Request<PeekableFlightDataStream>,
        error: DoPutError,
    ) -> Result<Response<<Self as FlightService>::DoPutStream>, Status> {
        Err(refused(Code::BadRequest, error.to_string()))
    }

    async fn do_put_statement_update(
        &self,
        _update: CommandStatementUpdate,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        read_only("an update is")
    }

    async fn do_put_statement_ingest(
        &self,
        _ingest: CommandStatementIngest,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        read_only("ingestion is")
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let owner = caller(&request)?.fingerprint();
        let handle = query.prepared_statement_handle;
        let (_, bound) = self.shared.prepared.get(&owner, &handle, Instant::now())?;
        let (params, bytes) = values::read(request.into_inner(), &bound.parameters).await?;
        self.shared.prepared.bind(&owner, &handle, params, bytes, Instant::now())?;
        Ok(DoPutPreparedStatementResult { prepared_statement_handle: Some(handle) })
    }

    async fn do_put_prepared_statement_update(
        &self,
        _update: CommandPreparedStatementUpdate,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        read_only("an update is")
    }

    async fn do_put_substrait_plan(
        &self,
        _plan: CommandStatementSubstraitPlan,
        _request: Request<PeekableFlightDataStream>,
    ) -> Result<i64, Status> {
        no_substrait()
    }

    async fn do_action_fallback(
        &self,
        request: Request<Action>,
    ) -> Result<Response<<Self as FlightService>::DoActionStream>, Status> {
        let who = caller(&request)?;
        let action = request.into_inner();
        let unreadable = || refused(Code::BadRequest, "the action's body cannot be read");
        let body = match action.r#type.as_str() {
            "CancelFlightInfo" => {
                let request =
                    arrow_flight::CancelFlightInfoRequest::decode(action.body).map_err(|_| unreadable())?;
                let status = self.cancel(&who, &request.info.ok_or_else(unreadable)?);
                arrow_flight::CancelFlightInfoResult { status }.encode_to_vec()
            }
            session::CLOSE => session::close(),
            session::GET => session::get(),
            session::SET => session::set(&action.body).ok_or_else(unreadable)?,
            other => {
                let name: String = other.chars().take(100).collect();
                return Err(refused(Code::NotSupported, format!("the action {name:?} is not known")));
            }
        };
        let result = arrow_flight::Result { body: body.into() };
        Ok(Response::new(futures::stream::iter([Ok(result)]).boxed()))
    }

    async fn do_action_create_prepared_statement(
        &self,
        request: ActionCreatePreparedStatementRequest,
        action: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let who = caller(&action)?;
        no_transactions(request.transaction_id.as_ref())?;
        let sql = numbered(request.query);
        let (columns, parameters) = self.describe(&who, Ask::new(&sql)).await?;
        let result = ActionCreatePreparedStatementResult {
            dataset_schema: encoded(&columns)?,
            parameter_schema: encoded(&columns_of(&parameters))?,
            prepared_statement_handle: Bytes::new(),
        };
        let handle: u128 = rand::random();
        self.shared.prepared.add(who.fingerprint(), handle, sql, parameters, Instant::now())?;
        let prepared_statement_handle = handle.to_be_bytes().to_vec().into();
        Ok(ActionCreatePreparedStatementResult { prepared_statement_handle, ..result })
    }

    async fn do_action_close_prepared_statement(
        &self,
        request: ActionClosePreparedStatementRequest,
        action: Request<Action>,
    ) -> Result<(), Status> {
        let owner = caller(&action)?.fingerprint();
        self.shared.prepared.close(&owner, &request.prepared_statement_handle, Instant::now());
        Ok(())
    }

    async fn do_action_create_prepared_substrait_plan(
        &self,
        _plan: ActionCreatePreparedSubstraitPlanRequest,
        _action: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        no_substrait()
    }

    async fn do_action_begin_transaction(
        &self,
        _begin: ActionBeginTransactionRequest,
        _action: Request<Action>,
    ) -> Result<ActionBeginTransactionResult, Status> {
        no_transactions(Some(&Bytes::new())).map(|()| ActionBeginTransactionResult::default())
    }

    async fn do_action_end_transaction(
        &self,
        _end: ActionEndTransactionRequest,
        _action: Request<Action>,
    ) -> Result<(), Status> {
        no_transactions(Some(&Bytes::new()))
    }

    async fn do_action_begin_savepoint(
        &self,
        _begin: ActionBeginSavepointRequest,
        _action: Request<Action>,
    ) -> Result<ActionBeginSavepointResult, Status> {
        no_transactions(Some(&Bytes::new())).map(|()| ActionBeginSavepointResult::default())
    }

    async fn do_action_end_savepoint(
        &self,
        _end: ActionEndSavepointRequest,
        _action: Request<Action>,
    ) -> Result<(), Status> {
        no_transactions(Some(&Bytes::new()))
    }

    async fn do_action_cancel_query(
        &self,
        request: ActionCancelQueryRequest,
        action: Request<Action>,
    ) -> Result<ActionCancelQueryResult, Status> {
        let who = caller(&action)?;
        let info = FlightInfo::decode(request.info);
        let info = info.map_err(|_| refused(Code::BadRequest, "the action's body cannot be read"))?;
        Ok(ActionCancelQueryResult { result: self.cancel(&who, &info) })
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}
