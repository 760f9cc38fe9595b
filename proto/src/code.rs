//! What a caller should do about an error, the same on both ends of a wire.

use std::fmt;

/// The outer kind of every Bailiwick error: what to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// It may pass: try the same again, with back-off.
    Retry,
    /// It will not pass by itself: somebody must change the input or the
    /// configuration that the message names; others are not affected.
    Fix,
    /// Going on would break a promise: this component must stop.
    Stop,
}

impl Action {
    /// The gRPC code that carries this action.
    pub fn to_grpc(self) -> tonic::Code {
        match self {
            Self::Retry => tonic::Code::Unavailable,
            Self::Fix => tonic::Code::InvalidArgument,
            Self::Stop => tonic::Code::FailedPrecondition,
        }
    }

    /// The action that a gRPC code asks for. Codes of the transport itself
    /// (cancelled, deadline, exhausted) are worth another try; everything that
    /// speaks about the request is not.
    pub fn from_grpc(code: tonic::Code) -> Self {
        use tonic::Code;
        match code {
            Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::OutOfRange
            | Code::Unimplemented => Self::Fix,
            Code::FailedPrecondition | Code::DataLoss => Self::Stop,
            _ => Self::Retry,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Retry => "retry",
            Self::Fix => "fix",
            Self::Stop => "stop",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_survives_the_wire() {
        for action in [Action::Retry, Action::Fix, Action::Stop] {
            assert_eq!(Action::from_grpc(action.to_grpc()), action);
        }
    }
}
