//! Why somebody was not let in: for the log and the metrics, never for whoever asked.

/// By which way somebody came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Way {
    /// A token of the token file.
    Token,
    /// A JWT of a configured issuer.
    Oidc,
    /// A certificate of a configured authority.
    Certificate,
    /// A token that Kubernetes knows.
    Kubernetes,
    /// Something else.
    Unknown,
}

/// Why somebody was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Refused {
    /// It has no form that is known here, or a part of it is not what it should be.
    Malformed,
    /// It is longer than anything that is accepted.
    TooLong,
    /// Nobody has it, or it was withdrawn.
    Unknown,
    /// Its time is over.
    Expired,
    /// Its time has not come.
    NotYet,
    /// It is signed in a way that is not accepted.
    Algorithm,
    /// It is signed with a key that its issuer does not publish for that.
    Key,
    /// Its signature is wrong.
    Signature,
    /// It is by somebody else, or for somebody else.
    Audience,
    /// It is genuine and nothing here is for its bearer.
    Unmapped,
    /// Who must be asked does not answer.
    Unavailable,
    /// Too many are asked about at once.
    Busy,
}

// === impl Way ===

impl Way {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Oidc => "oidc",
            Self::Certificate => "certificate",
            Self::Kubernetes => "kubernetes",
            Self::Unknown => "unknown",
        }
    }
}

// === impl Refused ===

impl Refused {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::TooLong => "too_long",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
            Self::NotYet => "not_yet",
            Self::Algorithm => "algorithm",
            Self::Key => "key",
            Self::Signature => "signature",
            Self::Audience => "audience",
            Self::Unmapped => "unmapped",
            Self::Unavailable => "unavailable",
            Self::Busy => "busy",
        }
    }
}
