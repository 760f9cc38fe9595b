//! One bad batch stops nobody: it is set aside, counted, acknowledged.

use arrow::array::{ArrayRef, Int32Array, RecordBatch};
use bailiwick_proto::v1::{Ack, Batch};
use bailiwick_proto::wire::{self, MAX_BATCH_BYTES};
use bailiwick_proto::{Table, v1};
use futures::TryStreamExt;
use object_store::ObjectStore;
use std::sync::Arc;
use tonic::Code;

use super::rig::{Run, config, memory};
use super::rows::{batch, stored};

fn good(numbers: &[i64]) -> Vec<u8> {
    wire::encode(&batch(Table::Queries, numbers)).unwrap()
}

/// Every way in which a batch may be unreadable, between two good ones.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unreadable_batches_are_set_aside_and_their_neighbours_pass() {
    let store = memory();
    let run = Run::start(store.clone(), config()).await;
    let mut stream = run.ship("node-1", 1).await;
    stream.send(0, Table::Queries, &[1]).await;
    let arrow_ipc = good(&[66]);
    stream
        .send_batch(Batch { seq: 1, table: "queries".into(), arrow_ipc: arrow_ipc.into(), crc32c: 7 })
        .await;
    let column: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let wrong = RecordBatch::try_from_iter([("rows", Arc::clone(&column))]).unwrap();
    stream.send_bytes(2, "queries", wire::encode(&wrong).unwrap()).await;
    let stranger = RecordBatch::try_from_iter([("nonsense", column)]).unwrap();
    stream.send_bytes(3, "queries", wire::encode(&stranger).unwrap()).await;
    stream.send_bytes(4, "no/such/table", good(&[66])).await;
    stream.send_bytes(5, "queries", vec![0; MAX_BATCH_BYTES + 1]).await;
    stream.send_bytes(6, "queries", b"not arrow at all".to_vec()).await;
    let mut cut = good(&[66]);
    cut.truncate(cut.len() / 2);
    stream.send_bytes(7, "queries", cut).await;
    stream.send(8, Table::Queries, &[2]).await;
    for seq in 0..9 {
        let bad = (1..8).contains(&seq);
        assert_eq!(stream.ack().await.unwrap(), Ack { through_seq: seq, quarantined: bad.into() });
    }
    assert_eq!(stored(&run.lake, Table::Queries).await, [1, 2]);
    // Each is one row of `losses` with a count of one.
    assert_eq!(stored(&run.lake, Table::Losses).await, [1; 7]);
    assert_eq!(run.metric("bailiwick_ingest_rejected_total{reason=\"quarantined\"}"), 7);
    let aside: Vec<_> = store
        .list(Some(&"quarantine".into()))
        .map_ok(|meta| meta.location.to_string())
        .try_collect()
        .await
        .unwrap();
    insta::assert_snapshot!(aside.join("\n"));
    insta::assert_snapshot!(details(&run).await);
}

/// The rows of `losses` as a person sees them.
async fn details(run: &Run) -> String {
    let view = run.lake.view(Table::Losses).await.unwrap();
    let mut lines = Vec::new();
    for batch in &view.wal {
        let names = ["tenant", "node", "cluster", "lane", "class", "reason", "count", "detail"];
        let columns = names.map(|name| batch.schema().index_of(name).unwrap());
        let shown = arrow::util::display::FormatOptions::default();
        for row in 0..batch.num_rows() {
            let cell = |column: &usize| {
                let column = batch.column(*column).as_ref();
                arrow::util::display::ArrayFormatter::try_new(column, &shown).unwrap().value(row).to_string()
            };
            lines.push(columns.iter().map(cell).collect::<Vec<_>>().join(" | "));
        }
    }
    lines.join("\n")
}

/// A message over the limit cannot be read far enough to be set aside: its
/// stream is refused with a code that says whose fault it is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_over_the_limit_is_refused_and_other_senders_go_on() {
    let run = Run::start(memory(), config()).await;
    let mut big = run.ship("node-1", 1).await;
    let mut other = run.ship("node-2", 1).await;
    big.send_bytes(0, "queries", vec![0; MAX_BATCH_BYTES + (1 << 20)]).await;
    let refused = big.ack().await.unwrap_err();
    assert_eq!(refused.code(), Code::OutOfRange, "{refused:?}");
    assert_eq!(run.metric("bailiwick_ingest_rejected_total{reason=\"stream\"}"), 1);
    other.deliver(0, Table::Queries, &[1]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_refused_with_the_number_that_is_expected() {
    let run = Run::start(memory(), config()).await;
    let mut stream = run.ship("node-1", 1).await;
    stream.deliver(0, Table::Queries, &[1]).await;
    stream.send(2, Table::Queries, &[3]).await;
    let refused = stream.ack().await.unwrap_err();
    assert_eq!(refused.code(), Code::Aborted);
    assert!(refused.message().contains("batch 2 came where 1 was expected"), "{refused:?}");
    let mut again = run.ship("node-1", 1).await;
    assert_eq!(again.expected_seq, 1);
    again.deliver(1, Table::Queries, &[2]).await;
    assert_eq!(stored(&run.lake, Table::Queries).await, [1, 2]);
    assert_eq!(run.metric("bailiwick_ingest_rejected_total{reason=\"gap\"}"), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_does_not_begin_properly_is_refused() {
    let run = Run::start(memory(), config()).await;
    let refused = super::rig::Stream::open(run.endpoint(), "../../etc", 1).await.err().unwrap();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let mut client = v1::ship_client::ShipClient::new(run.endpoint().connect().await.unwrap());
    let batch = v1::ShipRequest { body: Some(v1::ship_request::Body::Batch(Batch::default())) };
    let refused = client.ship(futures::stream::iter([batch])).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert_eq!(run.metric("bailiwick_ingest_rejected_total{reason=\"no_hello\"}"), 1);
}

mod damage {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

        /// Whatever bytes come under a right checksum: an ack, and the next good batch passes.
        #[test]
        fn no_bytes_stop_the_stream(position in any::<prop::sample::Index>(), flip in 1u8.., cut in any::<prop::sample::Index>()) {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
            runtime.block_on(async {
                let run = Run::start(memory(), config()).await;
                let mut stream = run.ship("node-1", 1).await;
                let mut bytes = good(&[1]);
                let position = position.index(bytes.len());
                bytes[position] ^= flip;
                stream.send_bytes(0, "queries", bytes.clone()).await;
                stream.ack().await.unwrap();
                bytes.truncate(cut.index(bytes.len()));
                stream.send_bytes(1, "queries", bytes).await;
                stream.ack().await.unwrap();
                stream.deliver(2, Table::Queries, &[77]).await;
                assert!(stored(&run.lake, Table::Queries).await.contains(&77));
            });
        }
    }
}
