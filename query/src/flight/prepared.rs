//! Prepared statements: kept for their principals, bounded, forgotten when nobody uses them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::status::refused;
use crate::engine::Parameter;
use crate::{Code, Params};
use tonic::Status;

/// After how long without use a statement is forgotten.
const IDLE: Duration = Duration::from_secs(30 * 60);
/// Statements of one principal, and of all.
const MOST_EACH: usize = 200;
const MOST: usize = 10_000;
/// Bytes of statements and values of one principal, and of all.
const BYTES_EACH: usize = 16 << 20;
const BYTES: usize = 128 << 20;

/// Every prepared statement.
#[derive(Debug, Default)]
pub(super) struct Prepared {
    statements: Mutex<HashMap<u128, Statement>>,
}

/// Whoever presents a handle and is not its owner is told what he is told of a
/// handle that never was.
#[derive(Debug)]
struct Statement {
    owner: [u8; 32],
    sql: String,
    parameters: Vec<Parameter>,
    params: Params,
    params_bytes: usize,
    used: Instant,
}

/// What a handle stands for now.
#[derive(Debug, Clone)]
pub(super) struct Bound {
    pub(super) sql: String,
    pub(super) parameters: Vec<Parameter>,
    pub(super) params: Params,
}

// === impl Prepared ===

impl Prepared {
    /// Keeps a statement under a handle that nobody can guess.
    pub(super) fn add(
        &self,
        owner: [u8; 32],
        handle: u128,
        sql: String,
        parameters: Vec<Parameter>,
        now: Instant,
    ) -> Result<(), Status> {
        let mut statements = self.lock();
        statements.retain(|_, statement| now.saturating_duration_since(statement.used) < IDLE);
        let statement =
            Statement { owner, sql, parameters, params: Params::default(), params_bytes: 0, used: now };
        room(&statements, &owner, 1, statement.bytes())?;
        statements.insert(handle, statement);
        Ok(())
    }

    pub(super) fn get(&self, owner: &[u8; 32], handle: &[u8], now: Instant) -> Result<(u128, Bound), Status> {
        let mut statements = self.lock();
        let (handle, statement) = owned(&mut statements, owner, handle, now)?;
        let bound = Bound {
            sql: statement.sql.clone(),
            parameters: statement.parameters.clone(),
            params: statement.params.clone(),
        };
        Ok((handle, bound))
    }

    /// Sets a statement's values; `bytes` is what they take.
    pub(super) fn bind(
        &self,
        owner: &[u8; 32],
        handle: &[u8],
        params: Params,
        bytes: usize,
        now: Instant,
    ) -> Result<(), Status> {
        let mut statements = self.lock();
        let more = bytes.saturating_sub(owned(&mut statements, owner, handle, now)?.1.params_bytes);
        room(&statements, owner, 0, more)?;
        let (_, statement) = owned(&mut statements, owner, handle, now)?;
        (statement.params, statement.params_bytes) = (params, bytes);
        Ok(())
    }

    /// Forgets a statement. That there is none is no error: it may have expired.
    pub(super) fn close(&self, owner: &[u8; 32], handle: &[u8], now: Instant) {
        let mut statements = self.lock();
        if let Ok((handle, _)) = owned(&mut statements, owner, handle, now) {
            statements.remove(&handle);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u128, Statement>> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the owner's own statements; it counts as used now.
fn owned<'a>(
    statements: &'a mut HashMap<u128, Statement>,
    owner: &[u8; 32],
    handle: &[u8],
    now: Instant,
) -> Result<(u128, &'a mut Statement), Status> {
    let unknown =
        || refused(Code::BadRequest, "there is no such prepared statement of yours; prepare it again");
    let handle = handle.try_into().map(u128::from_be_bytes).map_err(|_| unknown())?;
    let statement = statements.get_mut(&handle).filter(|statement| {
        statement.owner == *owner && now.saturating_duration_since(statement.used) < IDLE
    });
    let statement = statement.ok_or_else(unknown)?;
    statement.used = now;
    Ok((handle, statement))
}

/// Whether so many statements and bytes more may be kept.
fn room(
    statements: &HashMap<u128, Statement>,
    owner: &[u8; 32],
    more: usize,
    more_bytes: usize,
) -> Result<(), Status> {
    let own = || statements.values().filter(|statement| statement.owner == *owner);
    let bytes = |kept: &mut dyn Iterator<Item = &Statement>| kept.map(Statement::bytes).sum::<usize>();
    let full = [
        own().count() + more > MOST_EACH,
        bytes(&mut own()) + more_bytes > BYTES_EACH,
        statements.len() + more > MOST,
        bytes(&mut statements.values()) + more_bytes > BYTES,
    ];
    match full.contains(&true) {
        false => Ok(()),
        true => Err(refused(Code::TooLarge, "too many prepared statements are kept: close some first")),
    }
}

// === impl Statement ===

impl Statement {
    fn bytes(&self) -> usize {
        self.sql.len() + self.params_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use datafusion::common::ScalarValue;

    const ANNA: [u8; 32] = [1; 32];
    const BEN: [u8; 32] = [2; 32];

    fn kept(prepared: &Prepared, owner: [u8; 32], handle: u128, now: Instant) -> Result<(), Status> {
        prepared.add(owner, handle, "SELECT $1".into(), Vec::new(), now)
    }

    #[test]
    fn a_handle_is_its_owners_alone() {
        let (prepared, now) = (Prepared::default(), Instant::now());
        kept(&prepared, ANNA, 5, now).unwrap();
        let handle = 5u128.to_be_bytes();
        let others = prepared.get(&BEN, &handle, now).unwrap_err();
        let unknown = prepared.get(&BEN, &6u128.to_be_bytes(), now).unwrap_err();
        assert_eq!((others.code(), others.message()), (unknown.code(), unknown.message()));
        prepared.bind(&BEN, &handle, Params::default(), 0, now).unwrap_err();
        prepared.close(&BEN, &handle, now);
        let params = Params::Numbered(vec![ScalarValue::Int64(Some(7))]);
        prepared.bind(&ANNA, &handle, params, 8, now).unwrap();
        let (_, bound) = prepared.get(&ANNA, &handle, now).unwrap();
        assert!(matches!(bound.params, Params::Numbered(values) if values == [ScalarValue::Int64(Some(7))]));
        prepared.close(&ANNA, &handle, now);
        assert!(prepared.get(&ANNA, &handle, now).is_err());
        for odd in [&b""[..], &[0; 15], &[0; 17]] {
            assert!(prepared.get(&ANNA, odd, now).is_err());
        }
    }

    #[test]
    fn what_nobody_uses_is_forgotten_and_makes_room() {
        let (prepared, start) = (Prepared::default(), Instant::now());
        for handle in 0..MOST_EACH as u128 {
            kept(&prepared, ANNA, handle, start).unwrap();
        }
        assert_eq!(kept(&prepared, ANNA, 1_000, start).unwrap_err().code(), tonic::Code::ResourceExhausted);
        kept(&prepared, BEN, 1_001, start).expect("others have their own room");
        let later = start + IDLE - Duration::from_secs(1);
        prepared.get(&ANNA, &7u128.to_be_bytes(), later).unwrap();
        let late = start + IDLE;
        assert!(prepared.get(&ANNA, &8u128.to_be_bytes(), late).is_err());
        kept(&prepared, ANNA, 1_000, late).unwrap();
        assert!(prepared.get(&ANNA, &7u128.to_be_bytes(), late).is_ok(), "it was in use");
        assert_eq!(prepared.lock().len(), 2);
    }

    #[test]
    fn long_statements_and_values_have_a_limit_together() {
        let (prepared, now) = (Prepared::default(), Instant::now());
        kept(&prepared, ANNA, 1, now).unwrap();
        let handle = 1u128.to_be_bytes();
        assert!(prepared.bind(&ANNA, &handle, Params::default(), BYTES_EACH, now).is_err());
        prepared.bind(&ANNA, &handle, Params::default(), BYTES_EACH / 2, now).unwrap();
        prepared.bind(&ANNA, &handle, Params::default(), BYTES_EACH / 2, now).expect("they are replaced");
        assert!(prepared.add(ANNA, 2, " ".repeat(BYTES_EACH / 2 + 1), Vec::new(), now).is_err());
    }
}
