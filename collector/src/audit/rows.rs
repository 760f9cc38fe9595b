//! Audit events to rows of `api_access`.

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use bailiwick_proto::Table;

use crate::columns::Columns;

use super::body::PodSpec;
use super::event::{Derived, Event, EventError};

/// A batch is given on at this many bytes of events or rows, far below what one
/// batch may have on the wire even if every event is as long as it may be.
const FULL_BYTES: usize = 1 << 20;
const FULL_ROWS: usize = 8_192;

/// Rows of `api_access` that grow event by event.
#[derive(Debug)]
pub(super) struct Rows {
    columns: Columns,
    origin: Origin,
    bytes: usize,
}

/// What became of an event that is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushed {
    /// A row with all that the event says.
    Whole,
    /// A row, but its request body is nested too deep to be looked into; it is
    /// stored as it came.
    BodyUnread,
}

/// What is the same in every row.
#[derive(Debug, Clone)]
pub(super) struct Origin {
    /// `file` or `webhook`.
    pub(super) source: &'static str,
    pub(super) node: String,
    pub(super) cluster: String,
}

// === impl Rows ===

impl Rows {
    pub(super) fn new(origin: Origin) -> Self {
        Self { columns: Columns::new(Table::ApiAccess), origin, bytes: 0 }
    }

    /// Adds one event as a row. `now_us` is its time if it has none of its own.
    /// A malformed event adds nothing.
    pub(super) fn push(&mut self, json: &[u8], now_us: i64) -> Result<Pushed, EventError> {
        let event = Event::parse(json)?;
        let derived = event.derive()?;
        let time_us = derived.time_us.unwrap_or(now_us);
        self.request(&event, &derived, time_us);
        self.who(&event, &derived);
        self.answer(&event, &derived);
        self.bodies(&event, &derived);
        self.columns.end_row();
        self.bytes += json.len();
        Ok(if derived.body_unread { Pushed::BodyUnread } else { Pushed::Whole })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= FULL_BYTES || self.columns.rows() >= FULL_ROWS
    }

    /// The rows so far; the builder is empty again.
    pub(super) fn finish(&mut self) -> Result<RecordBatch, ArrowError> {
        self.bytes = 0;
        self.columns.finish()
    }

    fn request(&mut self, event: &Event<'_>, derived: &Derived, time_us: i64) {
        let columns = &mut self.columns;
        columns.time("time", Some(time_us));
        columns.text("node", Some(&self.origin.node));
        columns.text("cluster", Some(&self.origin.cluster));
        columns.text("source", Some(self.origin.source));
        columns.time("stage_time", derived.stage_time_us);
        let latency = derived.stage_time_us.and_then(|stage| stage.checked_sub(time_us));
        columns.int("latency_us", latency.filter(|_| derived.time_us.is_some()));
        columns.text("audit_id", event.audit_id.as_ref());
        columns.text("stage", event.stage.as_ref());
        columns.text("level", event.level.as_ref());
        columns.text("verb", event.verb.as_ref());
        columns.text("request_uri", event.request_uri.as_ref());
        let Some(object) = &event.object_ref else { return };
        columns.text("api_group", object.api_group.as_ref());
        columns.text("api_version", object.api_version.as_ref());
        columns.text("resource", object.resource.as_ref());
        columns.text("subresource", present(object.subresource.as_ref()));
        columns.text("namespace", present(object.namespace.as_ref()));
        columns.text("name", present(object.name.as_ref()));
        columns.text("obj_uid", object.uid.as_ref());
    }

    fn who(&mut self, event: &Event<'_>, derived: &Derived) {
        let columns = &mut self.columns;
        if let Some(user) = &event.user {
            columns.text("user", user.username.as_ref());
            columns.text("user_uid", user.uid.as_ref());
            list(columns, "user_groups", user.groups.as_deref());
            columns.text("user_extra", user.extra.map(|extra| extra.get()));
        }
        columns.text("sa_namespace", derived.sa_namespace.as_ref());
        columns.text("sa_name", derived.sa_name.as_ref());
        if let Some(user) = &event.impersonated_user {
            columns.text("impersonated_user", user.username.as_ref());
            list(columns, "impersonated_groups", user.groups.as_deref());
        }
        list(columns, "source_ips", event.source_ips.as_deref());
        columns.text("client_ip", event.source_ips.as_ref().and_then(|ips| ips.last()));
        columns.text("user_agent", event.user_agent.as_ref());
    }

    fn answer(&mut self, event: &Event<'_>, derived: &Derived) {
        let columns = &mut self.columns;
        if let Some(status) = &event.response_status {
            columns.int("code", status.code);
            columns.text("reason", present(status.reason.as_ref()));
            columns.text("message", present(status.message.as_ref()));
        }
        columns.text("decision", derived.decision.as_ref());
        columns.text("decision_reason", derived.decision_reason.as_ref());
        columns.text("annotations", event.annotations.map(|annotations| annotations.get()));
        columns.boolean("truncated", Some(derived.truncated));
        columns.text("request_object", event.request_object.map(|body| body.get()));
        columns.text("response_object", event.response_object.map(|body| body.get()));
    }

    fn bodies(&mut self, event: &Event<'_>, derived: &Derived) {
        let columns = &mut self.columns;
        let body = &derived.body;
        list(columns, "exec_command", filled(&body.command));
        columns.text("container", body.container.as_ref());
        if let Some(pod) = &body.pod {
            pod_columns(columns, pod);
        }
        if event.request_object.is_some() {
            list(columns, "role_verbs", filled(&body.role_verbs));
            list(columns, "role_resources", filled(&body.role_resources));
            columns.text("binding_role", body.binding_role.as_ref());
            list(columns, "binding_subjects", filled(&body.binding_subjects));
        }
    }
}

fn pod_columns(columns: &mut Columns, pod: &PodSpec) {
    list(columns, "images", Some(&pod.images));
    columns.boolean("pod_privileged", Some(pod.privileged));
    columns.boolean("pod_host_network", Some(pod.host_network));
    columns.boolean("pod_host_pid", Some(pod.host_pid));
    columns.boolean("pod_host_ipc", Some(pod.host_ipc));
    list(columns, "pod_hostpaths", Some(&pod.hostpaths));
    list(columns, "pod_added_caps", Some(&pod.added_caps));
}

fn list(columns: &mut Columns, name: &str, values: Option<&[String]>) {
    if let Some(values) = values {
        columns.texts(name, values);
    }
}

/// Hand-made events and some shippers write empty text for what is not there;
/// the API server leaves it out, and so do we.
fn present(text: Option<&String>) -> Option<&String> {
    text.filter(|text| !text.is_empty())
}

fn filled(list: &[String]) -> Option<&[String]> {
    (!list.is_empty()).then_some(list)
}
