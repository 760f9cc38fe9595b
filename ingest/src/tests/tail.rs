//! Tail: nothing between the bucket and the stream is missed or told twice.

use bailiwick_proto::v1::tail_client::TailClient;
use bailiwick_proto::v1::{TailReply, TailRequest};
use bailiwick_proto::{Table, wire};
use tonic::{Code, Streaming};

use super::rig::{Run, flushing, memory};
use super::rows::{numbers, stored};

async fn follow(run: &Run, tables: &[&str]) -> Result<Streaming<TailReply>, tonic::Status> {
    let mut client = TailClient::new(run.endpoint().connect().await.unwrap());
    let tables = tables.iter().map(|table| (*table).to_owned()).collect();
    Ok(client.tail(TailRequest { tables }).await?.into_inner())
}

fn told(reply: &TailReply) -> Vec<i64> {
    let table: Table = reply.table.parse().unwrap();
    let batches = wire::decode_trusted(&reply.arrow_ipc, &table.stamped_schema()).unwrap();
    batches.iter().flat_map(|batch| numbers(table, batch)).collect()
}

/// Goal: bucket up to the first message's number, then the stream, is all rows
/// once. Method: followers join while batches are sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bucket_and_stream_have_neither_gap_nor_overlap() {
    const BATCHES: i64 = 60;
    let run = Run::start(memory(), flushing()).await;
    let mut stream = run.ship("node-1", 1).await;
    let mut followers = Vec::new();
    for number in 0..BATCHES {
        if number % 20 == 10 {
            let mut tail = follow(&run, &["losses"]).await.unwrap();
            let first = tail.message().await.unwrap().unwrap();
            assert!(first.table.is_empty() && first.arrow_ipc.is_empty() && first.ingester == "ingest-0");
            let acked = stored(&run.lake, Table::Losses).await;
            assert_eq!(
                acked,
                (0..number).collect::<Vec<_>>(),
                "read after the join: no later than the boundary"
            );
            followers.push((first.wal_number, number, tail));
        }
        stream.deliver(number as u64, Table::Losses, &[number]).await;
    }
    for (boundary, joined_at, mut tail) in followers {
        let (mut last, mut heard) = (boundary, Vec::new());
        while heard.len() < (BATCHES - joined_at) as usize {
            let reply = tail.message().await.unwrap().unwrap();
            assert_eq!(reply.wal_number, last + 1, "one object a batch here, none left out");
            last = reply.wal_number;
            heard.extend(told(&reply));
        }
        assert_eq!(heard, (joined_at..BATCHES).collect::<Vec<_>>());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_hears_only_the_tables_that_it_asked_for() {
    let run = Run::start(memory(), flushing()).await;
    let mut tail = follow(&run, &["queries"]).await.unwrap();
    tail.message().await.unwrap();
    let mut stream = run.ship("node-1", 1).await;
    stream.deliver(0, Table::Losses, &[1]).await;
    stream.deliver(1, Table::Queries, &[2]).await;
    let reply = tail.message().await.unwrap().unwrap();
    assert_eq!((reply.table.as_str(), told(&reply)), ("queries", vec![2]));
    let refused = follow(&run, &["nonsense"]).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    // At the end followers are told so, rather than left waiting.
    run.end().await;
    assert_eq!(tail.message().await.unwrap_err().code(), Code::Unavailable);
}
