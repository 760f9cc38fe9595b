//! Which lane an event goes by, and whether it may be counted instead of told. Pure.

use bailiwick_collector_ebpf::calls::id;

use super::decode::Event;
use super::names;
use crate::outlet::Lane;

/// The lane of an event.
pub(super) fn of(event: &Event<'_>) -> Lane {
    match event {
        Event::Call(call) => of_call(call.call),
        Event::Socket(socket) => of_call(socket.call),
        Event::Dns(_) => Lane::Network,
        Event::Uring(_) => Lane::File,
        _ => Lane::Process,
    }
}

/// The lane of a call, which is its ring.
pub(super) fn of_call(call: u16) -> Lane {
    match names::shape(call).map(|shape| shape.class_and_ring >> 4) {
        Some(1) => Lane::Network,
        Some(2) => Lane::File,
        _ => Lane::Process,
    }
}

/// Whether events of this kind repeat so that they need not all be rows: what
/// changes nothing of a process, and an execve that failed.
pub(super) fn may_repeat(event: &Event<'_>) -> bool {
    match event {
        Event::Call(call) if matches!(call.call, id::EXECVE | id::EXECVEAT) => true,
        event => of(event) != Lane::Process,
    }
}
