//! Errors as clients of the protocol see them.

use arrow_flight::error::FlightError;
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Code as Grpc, Status};

use crate::{Code, QueryError};

/// Tells which row of `queries` an answer belongs to.
pub(super) const QUERY_ID: &str = "x-bailiwick-query-id";
/// The stable code, which is finer than gRPC's.
const CODE: &str = "x-bailiwick-code";

/// An error with gRPC's code for it. Drivers show the message alone, so the
/// query's id stands in it too.
pub(super) fn told(error: &QueryError) -> Status {
    let mut metadata = MetadataMap::new();
    metadata.insert(CODE, MetadataValue::from_static(error.code().as_str()));
    let mut message = format!("{error} [{}]", error.code());
    if let Some(query_id) = error.query_id() {
        message += &format!(" (query {query_id})");
        if let Ok(query_id) = MetadataValue::try_from(query_id) {
            metadata.insert(QUERY_ID, query_id);
        }
    }
    Status::with_metadata(grpc(error.code()), message, metadata)
}

/// The same for a request that is no query's.
pub(super) fn refused(code: Code, message: impl Into<String>) -> Status {
    told(&QueryError::new(code, message))
}

/// Whether an error is one of ours.
pub(super) fn is_told(status: &Status) -> bool {
    status.metadata().contains_key(CODE)
}

/// An error of an answer under way.
pub(super) fn broken(error: FlightError) -> Status {
    match error {
        FlightError::Tonic(status) => *status,
        other => told(&QueryError::internal(other)),
    }
}

const fn grpc(code: Code) -> Grpc {
    match code {
        Code::Syntax | Code::InvalidQuery | Code::ExecutionFailed | Code::BadRequest => Grpc::InvalidArgument,
        Code::NotSupported => Grpc::Unimplemented,
        Code::NotAllowed => Grpc::PermissionDenied,
        Code::Unauthenticated => Grpc::Unauthenticated,
        Code::Timeout => Grpc::DeadlineExceeded,
        Code::Cancelled => Grpc::Cancelled,
        Code::TooLarge => Grpc::ResourceExhausted,
        // What a client may send again as it is.
        Code::TooBusy | Code::Unavailable => Grpc::Unavailable,
        Code::Config | Code::Internal => Grpc::Internal,
    }
}
