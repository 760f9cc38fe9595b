//! Looks up the domain names that rules compare addresses with.
//!
//! Falco does it on the node; here it happens where detection runs, so a name
//! that only another cluster knows stays without an address. A name that cannot
//! be looked up keeps the addresses that it had.

use std::sync::Arc;
use std::time::Duration;

use bailiwick_query::look_up_names;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::rulebook::Current;

/// How old an answer may get.
const EVERY: Duration = Duration::from_secs(60);
/// How soon rules that changed are noticed.
const GLANCE: Duration = Duration::from_secs(1);

/// Keeps the names of the rules in use looked up, until stopped.
pub(crate) async fn keep_looking(rules: Current, stop: CancellationToken) {
    let mut last: Option<(Instant, Arc<_>)> = None;
    loop {
        let book = rules.get();
        let due = last.as_ref().is_none_or(|(at, seen)| !Arc::ptr_eq(seen, &book) || at.elapsed() >= EVERY);
        tokio::select! {
            () = async {
                if due {
                    let domains = book.set.domains();
                    look_up_names(domains, domains.names()).await;
                    last = Some((Instant::now(), Arc::clone(&book)));
                }
                sleep(GLANCE).await;
            } => {}
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use bailiwick_rules::{RuleText, load};

    use super::*;

    #[tokio::test]
    async fn names_of_rules_get_addresses_and_others_keep_none() {
        let text = "- rule: R\n  desc: d\n  condition: evt.type = connect and fd.sip.name in (localhost, \
                    no-such-name.invalid)\n  output: o\n  priority: INFO\n";
        let rules = load(&[RuleText { name: "r.yaml".to_owned(), text: text.to_owned() }]).rules;
        let _compiled = rules.compile(bailiwick_rules::Source::Syscall);
        look_up_names(rules.domains(), rules.domains().names()).await;
        let loopback = "127.0.0.1".parse::<IpAddr>().unwrap();
        assert!(rules.domains().addresses("localhost").contains(&loopback));
        assert!(rules.domains().addresses("no-such-name.invalid").is_empty());
    }
}
