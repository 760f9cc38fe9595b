//! What must hold for any bytes at all: one function for each text or bytes that come from elsewhere.
//!
//! ```text
//!   seeds ─▶ changed by libFuzzer, which sees what code they reach ─▶ targets/*.rs ─┐
//!   seeds ─▶ changed by chance, by `cargo test`, without C++ ──────────────────────▶┴─▶ this room
//! ```
//!
//! `fuzz/run` builds the programs and runs each for as long as it is told. What one of
//! them finds is kept below `target/fuzz/found`; a finding that was mended becomes a test
//! where it was mended. Functions of other rooms that only they use are there under `cfg(fuzzing)`;
//! beside them stand tests with changes by chance.

mod asked;

use std::sync::{Arc, LazyLock, Once};

use arrow::array::{ArrayRef, DictionaryArray, Int64Array, RecordBatch};
use arrow::datatypes::Int32Type;
use bailiwick_collector::recording::{Reader, Writer};
use bailiwick_proto::{Table, wire};
use bailiwick_rules::{Output, RuleSet, RuleText, Source, filter, load, run_cases};

#[cfg(fuzzing)]
pub use bailiwick_collector::fuzzing::{audit_event, dns_message, falco_alert, kernel_record};
#[cfg(fuzzing)]
pub use bailiwick_query::fuzzing::parameter;

/// Rules for [`rule_test`] to test.
const RULES: &str = "- rule: Shell\n  desc: d\n  condition: evt.type = execve and proc.name in (sh, bash) and not \
    proc.aname[2] = sshd\n  output: o\n  priority: INFO\n- rule: Privileged\n  desc: d\n  condition: \
    ka.req.pod.containers.privileged intersects (true)\n  output: o\n  priority: INFO\n  source: k8s_audit\n";

/// Rows that a collector could send.
static ROWS: LazyLock<Option<RecordBatch>> = LazyLock::new(|| {
    let count: ArrayRef = Arc::new(Int64Array::from(vec![1, 2]));
    let lane: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::from_iter(["file", "audit"]));
    RecordBatch::try_from_iter([("count", count), ("lane", lane)]).ok()
});

/// A condition is refused, or read as what its canonical text says.
pub fn condition(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(expr) = filter::parse(&text) else { return };
    let canonical = expr.to_string();
    let again = match filter::parse(&canonical) {
        Ok(again) => again.to_string(),
        Err(error) => panic!("{canonical:?}: {error}"),
    };
    // Two negations in a row are read as none.
    assert_eq!(again.replace("not not ", ""), canonical.replace("not not ", ""), "{text:?}");
}

/// A rule file is refused with a message for each reason, and what loads compiles.
pub fn rule_file(data: &[u8]) {
    let text = String::from_utf8_lossy(data).into_owned();
    let lines = text.matches(['\n', '\r']).count();
    let loaded = load(&[RuleText { name: "fuzz.yaml".to_owned(), text }]);
    for diagnostic in &loaded.diagnostics {
        assert!(!diagnostic.message.is_empty());
        assert!(diagnostic.line <= lines + 2, "{}", diagnostic.render());
    }
    for source in [Source::Syscall, Source::K8sAudit] {
        let _ = loaded.rules.compile(source);
    }
}

/// A template is refused or parsed.
pub fn output(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    for source in [Source::Syscall, Source::K8sAudit] {
        match Output::parse(source, &text) {
            Ok(output) => drop(output.unfilled()),
            Err(error) => assert!(!error.message.is_empty()),
        }
    }
}

/// Tests of rules pass, or fail each with a message and a line.
pub fn rule_test(data: &[u8]) {
    static LOADED: LazyLock<RuleSet> =
        LazyLock::new(|| load(&[RuleText { name: "rules.yaml".to_owned(), text: RULES.to_owned() }]).rules);
    let text = String::from_utf8_lossy(data).into_owned();
    let report = run_cases(&LOADED, &[RuleText { name: "fuzz_test.yaml".to_owned(), text }]);
    for failure in report.failures {
        assert!(failure.line > 0 && !failure.message.is_empty());
    }
}

/// What a sender says is a batch is one of its table, or refused.
pub fn batch(data: &[u8]) {
    let schema = Table::Losses.wire_schema();
    let sent = |rows: &RecordBatch| wire::encode(rows).unwrap_or_default();
    let bytes = changed(data, ROWS.as_ref().map(sent).unwrap_or_default());
    caught(|| {
        if let Ok(batch) = wire::decode(&bytes, crc32c::crc32c(&bytes), &schema) {
            assert_eq!(batch.schema(), schema);
        }
    });
}

/// A recording is read to its end, or up to where it is damaged.
pub fn recording(data: &[u8]) {
    let bytes = changed(data, recorded().unwrap_or_default());
    caught(|| {
        if let Ok(reader) = Reader::new(bytes.as_slice()) {
            assert!(reader.count() <= bytes.len());
        }
    });
}

/// A statement is admitted, or refused with an error.
#[cfg(fuzzing)]
pub fn statement(data: &[u8]) {
    bailiwick_query::fuzzing::statement(&String::from_utf8_lossy(data));
}

/// A statement ends in its time, whatever it asks.
pub fn query(data: &[u8]) {
    caught(|| asked::ask(&String::from_utf8_lossy(data)));
}

fn recorded() -> Option<Vec<u8>> {
    let mut writer = Writer::new(Vec::new(), "fuzz").ok()?;
    let sent = wire::encode(ROWS.as_ref()?).ok()?;
    let rows = wire::decode(&sent, crc32c::crc32c(&sent), &Table::Losses.wire_schema()).ok()?;
    writer.write(Table::Losses, &rows).ok()?;
    writer.finish().ok()
}

/// The data itself, or good bytes that it changes: two bytes say where, a third what
/// is there instead. Out of nothing nobody makes a readable stream.
fn changed(data: &[u8], mut good: Vec<u8>) -> Vec<u8> {
    match data.split_first() {
        Some((0, bytes)) => bytes.to_vec(),
        _ => {
            for change in data.chunks_exact(3) {
                let at = usize::from(change[0]) << 8 | usize::from(change[1]);
                let length = good.len().max(1);
                if let Some(byte) = good.get_mut(at % length) {
                    *byte = change[2];
                }
            }
            good
        }
    }
}

/// What is called may catch panics of Arrow's reader, as it does in service. libFuzzer
/// ends the process before they can be; a panic that nobody catches still does.
fn caught(call: impl FnOnce()) {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| ())));
    call();
}

#[cfg(test)]
mod seeds;
#[cfg(test)]
mod tests;
