//! Client certificates: from names in one to rights.
//!
//! That a certificate is from the right authority, in its time and for clients was
//! checked when the connection was made, see [`crate::tls`]. Here is who it is.

use chrono::{DateTime, Utc};
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;
use x509_certificate::X509Certificate;

use super::mapping::{Facts, Mapping};
use super::{Known, Refused};
use crate::principal::Credential;
use crate::{Config, QueryError};

/// What stands before the name of whoever came with a certificate.
const PREFIX: &str = "cert:";
const MAX_NAME_BYTES: usize = 256;

/// Whose certificates are whose.
#[derive(Debug)]
pub(super) struct Certificates {
    mapping: Mapping,
}

/// The names in a certificate.
#[derive(Debug)]
struct Names {
    uris: Vec<String>,
    dns: Vec<String>,
    common: Vec<String>,
}

// === impl Certificates ===

impl Certificates {
    pub(super) fn new(config: &Config) -> Result<Self, QueryError> {
        if config.client_ca_file.is_none() && !config.certificates.is_empty() {
            return Err(QueryError::config(
                "query.certificates needs query.client_ca_file: whose certificates count",
            ));
        }
        let kinds = ["uris", "dns", "common_names"];
        Ok(Self { mapping: Mapping::new("query.certificates", &config.certificates, &kinds)? })
    }

    pub(super) fn known(&self, der: &[u8]) -> Result<Known, Refused> {
        // One library is strict and knows of other names, one knows of the subject.
        let strict = CertificateDer::from(der);
        let strict = EndEntityCert::try_from(&strict).map_err(|_| Refused::Malformed)?;
        let certificate = X509Certificate::from_der(der).map_err(|_| Refused::Malformed)?;
        let end = end(&certificate, Utc::now())?;
        let names = Names::of(&strict, &certificate)?;
        let name = names.first().ok_or(Refused::Unmapped)?;
        if name.is_empty() || name.len() > MAX_NAME_BYTES || name.contains(char::is_control) {
            return Err(Refused::Malformed);
        }
        let name = format!("{PREFIX}{name}");
        let mut facts = Facts::default();
        facts.add("uris", names.uris);
        facts.add("dns", names.dns);
        facts.add("common_names", names.common);
        Ok(Known { name, rights: self.mapping.rights(&facts), credential: Credential::Until(end) })
    }
}

/// When its time ends. A session that is resumed does not show its certificate again,
/// so this is asked here as well.
fn end(certificate: &X509Certificate, now: DateTime<Utc>) -> Result<DateTime<Utc>, Refused> {
    let (begin, end) = (certificate.validity_not_before(), certificate.validity_not_after());
    match (begin <= now, now < end) {
        (true, true) => Ok(end),
        (false, _) => Err(Refused::NotYet),
        (true, false) => Err(Refused::Expired),
    }
}

// === impl Names ===

impl Names {
    fn of(strict: &EndEntityCert<'_>, certificate: &X509Certificate) -> Result<Self, Refused> {
        let mut common = certificate.subject_name().iter_common_name().map(|name| name.to_string());
        let first = common.next().transpose().map_err(|_| Refused::Malformed)?;
        // Readers differ in which of several they take.
        if common.next().is_some() {
            return Err(Refused::Malformed);
        }
        let uris = strict.valid_uri_names().map(str::to_owned).collect();
        let dns = strict.valid_dns_names().map(str::to_owned).collect();
        Ok(Self { uris, dns, common: first.into_iter().collect() })
    }

    /// What the principal is called by.
    fn first(&self) -> Option<&str> {
        self.uris.iter().chain(&self.common).chain(&self.dns).next().map(String::as_str)
    }
}
