//! Tail: every WAL object's rows, to whoever follows.

use std::collections::HashSet;
use std::sync::Arc;

use bailiwick_proto::v1::{TailReply, TailRequest, tail_server};
use bailiwick_proto::{IngesterId, Table};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use super::Guard;
use crate::announce::{Announced, Announcer};
use crate::metrics::Metrics;

/// Messages on their way to one follower.
const AHEAD: usize = 8;

#[derive(Clone)]
pub(crate) struct TailService {
    pub(crate) ingester: IngesterId,
    pub(crate) announcer: Arc<Announcer>,
    pub(crate) guard: Guard,
    pub(crate) metrics: Metrics,
    pub(crate) stop: CancellationToken,
}

// === impl TailService ===

#[tonic::async_trait]
impl tail_server::Tail for TailService {
    type TailStream = ReceiverStream<Result<TailReply, Status>>;

    async fn tail(&self, request: Request<TailRequest>) -> Result<Response<Self::TailStream>, Status> {
        self.guard.check(&request).inspect_err(|_| self.metrics.reject("unauthenticated"))?;
        let tables = wanted(&request.into_inner().tables)?;
        let (replies, stream) = mpsc::channel(AHEAD);
        let (last, mut heard) = self.announcer.follow();
        let ingester = self.ingester.to_string();
        let opening = TailReply { ingester: ingester.clone(), wal_number: last, ..TailReply::default() };
        let (stop, metrics) = (self.stop.clone(), self.metrics.clone());
        tokio::spawn(async move {
            let follow = async {
                replies.send(Ok(opening)).await.ok()?;
                while let Some(announced) = heard.next().await {
                    for reply in replies_to(&announced, &ingester, &tables) {
                        replies.send(Ok(reply)).await.ok()?;
                    }
                }
                metrics.tails_cut_off.inc();
                let behind = "too far behind: read what was missed from the bucket, then follow again";
                replies.send(Err(Status::out_of_range(behind))).await.ok()
            };
            tokio::select! {
                _ = follow => {}
                () = replies.closed() => {}
                () = stop.cancelled() => {
                    let _ = replies.try_send(Err(Status::unavailable("ingest stops")));
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

fn wanted(names: &[String]) -> Result<HashSet<Table>, Status> {
    if names.is_empty() {
        return Ok(Table::ALL.into());
    }
    let tables = names.iter().map(|name| name.parse::<Table>());
    tables.collect::<Result<_, _>>().map_err(|error| Status::invalid_argument(error.to_string()))
}

fn replies_to(announced: &Announced, ingester: &str, tables: &HashSet<Table>) -> Vec<TailReply> {
    let of_interest = announced.rows.iter().filter(|rows| tables.contains(&rows.table));
    let reply = |rows: &bailiwick_lake::EncodedRows| TailReply {
        ingester: ingester.to_owned(),
        wal_number: announced.number,
        table: rows.table.name().to_owned(),
        arrow_ipc: rows.arrow_ipc.clone(),
    };
    of_interest.map(reply).collect()
}
