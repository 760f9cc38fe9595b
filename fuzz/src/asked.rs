//! A statement asked of a real engine, over a bucket in memory.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use bailiwick_lake::Lake;
use bailiwick_proto::ship::MemoryOutbox;
use bailiwick_query::{Config, Endpoint, Engine, Principal, QueryRecorder};
use futures::StreamExt;
use prometheus_client::registry::Registry;
use tokio::runtime::Runtime;

/// Every table is there, and empty. A statement has two seconds, and 256 MiB.
static SERVED: LazyLock<Option<(Runtime, Arc<Engine>)>> = LazyLock::new(|| {
    let runtime = Runtime::new().ok()?;
    let engine = runtime.block_on(async {
        let lake = Lake::open("memory://", "fuzz").await.ok()?;
        let (records, _) = MemoryOutbox::new(1, 1 << 20);
        let config = Config {
            query_timeout_ms: 2_000,
            memory_bytes: 256 << 20,
            tenant_memory_bytes: 256 << 20,
            max_concurrent: 1,
            tenant_max_concurrent: 1,
            ..Config::default()
        };
        Engine::new(&config, lake, QueryRecorder::new(records, "node", "fuzz"), &mut Registry::default()).ok()
    })?;
    Some((runtime, engine))
});

/// It is answered or refused, and afterwards its place is free: nothing of it goes on.
pub(crate) fn ask(sql: &str) {
    let Some((runtime, engine)) = SERVED.as_ref() else { panic!("the engine did not start") };
    runtime.block_on(async {
        let who = Principal::operator();
        let answer = |sql: String| {
            let who = &who;
            async move {
                let mut rows = engine.run(who, Endpoint::Http, &sql).await?;
                while let Some(batch) = rows.next().await {
                    batch?;
                }
                Ok::<_, bailiwick_query::QueryError>(())
            }
        };
        let _ = answer(sql.to_owned()).await;
        while answer("SELECT 1".to_owned()).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}
