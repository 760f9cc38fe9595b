//! `bailiwick doctor`: what can be captured here, what is missing, how to get it;
//! and whether the bucket does what everything builds on.
//!
//! ```text
//!   features::probe ─┐
//!   sources, started ┼─▶ Report ─▶ text for people, JSON for programs, an exit code
//!   bucket, clients ─┘
//! ```

mod checks;
mod text;

use bailiwick_collector::Enabled;
use bailiwick_collector::features::{self, Feature, Need, State, Verdict};
use serde::Serialize;

use crate::cli;
use crate::config::Config;
use crate::failure::Failure;
use crate::say::{self, say};
use checks::Check;

/// Everything that was looked at.
#[derive(Debug, Clone, Serialize)]
struct Report {
    /// Whether system calls can be captured.
    verdict: Verdict,
    /// The kernel, privileges, cgroups and runtimes.
    features: Vec<Feature>,
    /// Each source, as it started.
    sources: Vec<Check>,
    /// The bucket.
    bucket: Check,
    /// Why the bucket cannot be used, with the code that a start would end with.
    #[serde(skip)]
    refusal: Option<Failure>,
    /// Whether system calls are to be captured; if not, the verdict decides nothing.
    #[serde(skip)]
    wants_syscalls: bool,
    /// Who can connect to what runs here.
    clients: Vec<Check>,
}

/// Looks, prints what it found, and ends as the exit codes of `--help` say.
pub(crate) async fn run(config: Config, args: cli::Doctor) -> Result<(), Failure> {
    let features = features::judge(&features::probe());
    let (bucket, refusal) = checks::bucket(&config).await;
    let report = Report {
        verdict: features::verdict(&features),
        features,
        bucket,
        refusal,
        wants_syscalls: config.collector.syscalls.enabled != Enabled::Off,
        clients: checks::clients(&config).await,
        sources: checks::sources(config).await?,
    };
    match args.format {
        cli::DoctorFormat::Text => say!("{}", text::of(&report)),
        cli::DoctorFormat::Json => {
            let text = serde_json::to_string_pretty(&report);
            say::json(&text.map_err(|error| Failure::failed(error.to_string()))?);
        }
    }
    report.outcome()
}

// === impl Report ===

impl Report {
    /// The bucket first, since nothing starts without it; then the kernel; then
    /// what is only a pity.
    fn outcome(&self) -> Result<(), Failure> {
        if let Some(refusal) = &self.refusal {
            return Err(refusal.clone());
        }
        self.capture()?;
        let failed = |checks: &[Check]| checks.iter().filter(|check| check.state == State::No).count();
        match failed(&self.sources) {
            0 => Ok(()),
            1 => Err(Failure::failed("one thing does not work here, see above")),
            count => Err(Failure::failed(format!("{count} things do not work here, see above"))),
        }
    }

    /// Whether the kernel lets system calls be captured, where that is asked for.
    fn capture(&self) -> Result<(), Failure> {
        let refused = |why: &str| format!("system calls cannot be captured {why}: {}", self.lacking());
        match self.verdict {
            _ if !self.wants_syscalls => Ok(()),
            Verdict::Able => Ok(()),
            Verdict::NotSupported => Err(Failure::unsupported(refused("on this kernel"))),
            Verdict::NotPermitted => Err(Failure::not_permitted(refused("with these privileges"))),
        }
    }

    /// The core's parts that are not there.
    fn lacking(&self) -> String {
        let core = self.features.iter().filter(|feature| feature.need == Need::Core);
        let certain: Vec<&str> =
            core.filter(|feature| feature.state == State::No).map(|feature| feature.name).collect();
        if certain.is_empty() { "they cannot even be tried".to_owned() } else { certain.join(", ") }
    }
}

#[cfg(test)]
mod tests;
