//! Values for a prepared statement's parameters, as a stream of batches.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use datafusion::arrow::array::RecordBatch;
use datafusion::common::ScalarValue;
use futures::{FutureExt, Stream, StreamExt, TryStreamExt};
use tokio::time::timeout;
use tonic::Status;

use super::status::refused;
use crate::columns::{public_rows, public_schema};
use crate::engine::{MAX_PARAMS, Parameter};
use crate::{Code, Params, QueryError};

/// How long values may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);

/// Values, and how many bytes they take.
pub(super) async fn read(
    messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
    parameters: &[Parameter],
) -> Result<(Params, usize), Status> {
    // What a stranger sends may break the decoder of the format; it breaks no more than this call.
    let row = AssertUnwindSafe(only_row(messages)).catch_unwind();
    let row = match timeout(PATIENCE, row).await {
        Ok(Ok(row)) => row?,
        Ok(Err(_)) => return Err(malformed()),
        Err(_) => return Err(refused(Code::Timeout, "the values did not arrive in time")),
    };
    let Some(row) = row else { return Ok((Params::default(), 0)) };
    let bytes = row.get_array_memory_size();
    let params = AssertUnwindSafe(async { params(&row, parameters) }).catch_unwind().await;
    Ok((params.map_err(|_| malformed())?.map_err(|error| super::status::told(&error))?, bytes))
}

/// The one row of a stream. A statement is run once, so more are refused.
async fn only_row(
    messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
) -> Result<Option<RecordBatch>, Status> {
    let mut batches = FlightRecordBatchStream::new_from_flight_data(messages.map_err(FlightError::from));
    let mut row: Option<RecordBatch> = None;
    while let Some(batch) = batches.next().await {
        let batch = batch.map_err(|error| match error {
            FlightError::Tonic(status) => *status,
            _ => malformed(),
        })?;
        match (batch.num_rows(), &row) {
            (0, _) => {}
            (1, None) => row = Some(batch),
            _ => {
                let message = "a statement takes one row of values: run it once for each";
                return Err(refused(Code::NotSupported, message));
            }
        }
    }
    Ok(row.filter(|row| row.num_columns() > 0))
}

/// By name where the statement has names, by place otherwise.
fn params(row: &RecordBatch, parameters: &[Parameter]) -> Result<Params, QueryError> {
    if row.num_columns() > MAX_PARAMS {
        return Err(QueryError::new(
            Code::BadRequest,
            format!("a statement has {MAX_PARAMS} parameters at most"),
        ));
    }
    let row = public_rows(row, &public_schema(&row.schema()))?;
    let value = |index: usize| ScalarValue::try_from_array(row.column(index), 0);
    if parameters.iter().all(Parameter::is_numbered) {
        let values = (0..row.num_columns()).map(value);
        return Ok(Params::Numbered(values.collect::<Result<_, _>>()?));
    }
    let named = row.schema_ref().fields().iter().zip(0..).map(|(field, index)| {
        let name = field.name().strip_prefix('$').unwrap_or(field.name());
        Ok((name.to_owned(), value(index)?))
    });
    Ok(Params::Named(named.collect::<Result<_, QueryError>>()?))
}

fn malformed() -> Status {
    refused(Code::BadRequest, "the values are not batches of Arrow's format")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use arrow_flight::encode::FlightDataEncoderBuilder;
    use datafusion::arrow::array::{ArrayRef, Int64Array, StringArray, UInt8Array};
    use futures::stream::iter;
    use proptest::prelude::*;

    fn batch(columns: &[(&str, ArrayRef)]) -> RecordBatch {
        RecordBatch::try_from_iter(columns.iter().cloned()).unwrap()
    }

    async fn messages(batches: Vec<RecordBatch>) -> Vec<FlightData> {
        let batches = iter(batches.into_iter().map(Ok));
        FlightDataEncoderBuilder::new().build(batches).try_collect().await.unwrap()
    }

    async fn read_all(sent: Vec<FlightData>, parameters: &[&str]) -> Result<Params, Status> {
        let named = |name: &&str| Parameter { name: (*name).to_owned(), kind: None };
        let parameters: Vec<_> = parameters.iter().map(named).collect();
        Ok(read(iter(sent.into_iter().map(Ok)), &parameters).await?.0)
    }

    fn one_row() -> RecordBatch {
        batch(&[
            ("since", Arc::new(Int64Array::from(vec![7]))),
            ("$kind", Arc::new(StringArray::from(vec!["x"]))),
        ])
    }

    #[tokio::test]
    async fn values_are_taken_by_place_or_by_name() {
        let sent = messages(vec![one_row()]).await;
        let (seven, x) = (ScalarValue::Int64(Some(7)), ScalarValue::Utf8(Some("x".into())));
        let Params::Numbered(values) = read_all(sent.clone(), &["$1", "$2"]).await.unwrap() else { panic!() };
        assert_eq!(values, [seven.clone(), x.clone()]);
        let Params::Named(values) = read_all(sent, &["$since", "$kind"]).await.unwrap() else { panic!() };
        assert_eq!(values, [("since".to_owned(), seven), ("kind".to_owned(), x)]);
        let odd = messages(vec![batch(&[("a", Arc::new(UInt8Array::from(vec![3])))])]).await;
        let Params::Numbered(values) = read_all(odd, &["$1"]).await.unwrap() else { panic!() };
        assert_eq!(values, [ScalarValue::Int16(Some(3))]);
        assert!(read_all(Vec::new(), &["$1"]).await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn more_than_one_row_is_refused() {
        for batches in
            [vec![batch(&[("a", Arc::new(Int64Array::from(vec![1, 2])))])], vec![one_row(), one_row()]]
        {
            let status = read_all(messages(batches).await, &["$1"]).await.unwrap_err();
            assert_eq!(status.code(), tonic::Code::Unimplemented, "{status}");
        }
    }

    proptest! {
        /// Goal: no bytes get past the decoder or take the server down. Method: real messages
        /// with bytes changed, left out and repeated.
        #[test]
        fn no_bytes_break_it(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 0..8),
            cut: Option<prop::sample::Index>,
            order in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            runtime.block_on(async {
                let mut sent = messages(vec![one_row()]).await;
                for (message, at, byte) in changes {
                    let message = &mut sent[message.index(2)];
                    let part = if byte % 2 == 0 { &mut message.data_header } else { &mut message.data_body };
                    let mut bytes = part.to_vec();
                    if !bytes.is_empty() {
                        let at = at.index(bytes.len());
                        bytes[at] ^= byte;
                        if let Some(cut) = cut {
                            bytes.truncate(cut.index(bytes.len()));
                        }
                    }
                    *part = bytes.into();
                }
                let extra: Vec<_> = order.iter().map(|index| sent[index.index(sent.len())].clone()).collect();
                sent.extend(extra);
                if let Err(status) = read_all(sent, &["$1", "$2"]).await {
                    assert_ne!(status.code(), tonic::Code::Internal, "{status}");
                }
            });
        }
    }
}
