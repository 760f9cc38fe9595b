//! The protocol's methods: what `arrow-flight` does not take apart, and commands that nobody can read.

use std::pin::Pin;

use arrow_flight::flight_service_server::FlightService;
use arrow_flight::sql::{Any, Command};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo, HandshakeRequest,
    PollInfo, SchemaResult, Ticket,
};
use futures::{Stream, StreamExt};
use prost::Message;
use tonic::{Request, Response, Status, Streaming};

use super::metadata::Asked;
use super::service::{Service, caller, info};
use super::session;
use super::status::{is_told, refused};
use crate::Code;

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Everything that is understood, by name and meaning.
const ACTIONS: [(&str, &str); 7] = [
    ("CreatePreparedStatement", "Prepares a statement, for values to be bound to it."),
    ("ClosePreparedStatement", "Forgets a prepared statement."),
    ("CancelFlightInfo", "Cancels the query that an answer of GetFlightInfo began."),
    ("CancelQuery", "The same, as it was done before CancelFlightInfo."),
    (session::GET, "The catalog and the schema."),
    (session::SET, "Accepts the catalog and the schema that there are."),
    (session::CLOSE, "There is nothing to close."),
];

/// The service behind its checks.
pub(super) struct Wire {
    service: Service,
}

// === impl Wire ===

impl Wire {
    pub(super) fn new(service: Service) -> Self {
        Self { service }
    }

    async fn info(&self, request: Request<FlightDescriptor>) -> Result<FlightInfo, Status> {
        let command = command(&request.get_ref().cmd)?;
        let Some(asked) = Asked::of(command) else {
            return Ok(self.service.get_flight_info(request).await?.into_inner());
        };
        let schema = asked.schema();
        info(&schema, asked.into_any().encode_to_vec(), request.into_inner())
    }
}

/// The command in a descriptor or a ticket.
fn command(bytes: &[u8]) -> Result<Command, Status> {
    let unreadable = || refused(Code::BadRequest, "this is no command of Flight SQL");
    let any = Any::decode(bytes).map_err(|_| unreadable())?;
    Command::try_from(any).map_err(|_| unreadable())
}

/// `arrow-flight`'s own errors, which come where bytes could not be read, show its insides.
fn cleaned(status: Status) -> Status {
    match is_told(&status) {
        true => status,
        false => refused(Code::BadRequest, "what was sent cannot be read as a message of Flight SQL"),
    }
}

fn unsupported<T>(what: &str) -> Result<T, Status> {
    Err(refused(Code::NotSupported, format!("{what} is not supported")))
}

#[tonic::async_trait]
impl FlightService for Wire {
    type HandshakeStream = <Service as FlightService>::HandshakeStream;
    type ListFlightsStream = Messages<FlightInfo>;
    type DoGetStream = Messages<FlightData>;
    type DoPutStream = <Service as FlightService>::DoPutStream;
    type DoActionStream = <Service as FlightService>::DoActionStream;
    type ListActionsStream = Messages<ActionType>;
    type DoExchangeStream = Messages<FlightData>;

    async fn handshake(
        &self,
        request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        self.service.handshake(request).await
    }

    async fn list_flights(
        &self,
        _request: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        unsupported("ListFlights")
    }

    async fn get_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        caller(&request)?;
        Ok(Response::new(self.info(request).await?))
    }

    /// Nothing is run for a description, so it is there at once.
    async fn poll_flight_info(
        &self,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        caller(&request)?;
        Ok(Response::new(PollInfo::new().with_info(self.info(request).await?)))
    }

    async fn get_schema(&self, request: Request<FlightDescriptor>) -> Result<Response<SchemaResult>, Status> {
        caller(&request)?;
        Ok(Response::new(SchemaResult { schema: self.info(request).await?.schema }))
    }

    async fn do_get(&self, request: Request<Ticket>) -> Result<Response<Self::DoGetStream>, Status> {
        let who = caller(&request)?;
        match Asked::of(command(&request.get_ref().ticket)?) {
            Some(asked) => self.service.about(asked, &who).await,
            None => self.service.do_get(request).await,
        }
    }

    async fn do_put(
        &self,
        request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        caller(&request)?;
        self.service.do_put(request).await.map_err(cleaned)
    }

    async fn do_action(&self, request: Request<Action>) -> Result<Response<Self::DoActionStream>, Status> {
        caller(&request)?;
        self.service.do_action(request).await.map_err(cleaned)
    }

    async fn list_actions(
        &self,
        request: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        caller(&request)?;
        let action = |(name, description): (&str, &str)| {
            Ok(ActionType { r#type: name.to_owned(), description: description.to_owned() })
        };
        Ok(Response::new(futures::stream::iter(ACTIONS.map(action)).boxed()))
    }

    async fn do_exchange(
        &self,
        _request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        unsupported("DoExchange")
    }
}
