//! Which requests of a connection are under way, so that one that asks for nothing can be told.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http_body_util::BodyExt;
use tokio::sync::watch;

/// How long a connection may be without a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Silence {
    /// Before its first one.
    pub(super) first: Duration,
    /// After its last one was answered.
    pub(super) idle: Duration,
}

/// A connection's requests; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Requests {
    now: Arc<watch::Sender<Now>>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Now {
    running: usize,
    /// Whether there ever was one.
    asked: bool,
}

/// A request that is under way, until the last byte of its answer was handed over.
#[derive(Debug)]
struct UnderWay(Arc<watch::Sender<Now>>);

// === impl Requests ===

impl Requests {
    /// Whether there ever was one.
    pub(super) fn any(&self) -> bool {
        self.now.borrow().asked
    }

    /// Waits until the connection has asked for nothing for so long.
    pub(super) async fn silent(&self, silence: Silence) {
        let mut changes = self.now.subscribe();
        loop {
            let Now { running, asked } = *changes.borrow_and_update();
            let patience = if asked { silence.idle } else { silence.first };
            tokio::select! {
                () = tokio::time::sleep(patience), if running == 0 => return,
                // The sender is here, so that this cannot fail.
                _ = changes.changed() => {}
            }
        }
    }

    fn begin(&self) -> UnderWay {
        self.now.send_modify(|now| {
            *now = Now { running: now.running + 1, asked: true };
        });
        UnderWay(Arc::clone(&self.now))
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.send_modify(|now| now.running -= 1);
    }
}

/// Middleware: notes a request, and the end of its answer.
pub(super) async fn noted(State(requests): State<Requests>, request: Request, next: Next) -> Response {
    let under_way = requests.begin();
    next.run(request).await.map(|body| {
        // It lives as long as the body, which passes through unchanged.
        Body::new(body.map_err(move |error| {
            let _under_way = &under_way;
            error
        }))
    })
}
