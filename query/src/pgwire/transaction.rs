//! Transactions, which keep cursors and local settings and nothing else: nothing is ever written.

use pgwire::messages::response::TransactionStatus;

use super::connection::{Connection, Socket, send};
use super::failure::{Failure, notice};

/// Savepoints that one transaction may have.
const MOST_SAVEPOINTS: usize = 1_000;

// === impl Connection ===

impl Connection {
    pub(super) async fn begin(&mut self, socket: &mut Socket) -> Result<(), Failure> {
        if !matches!(self.transaction, TransactionStatus::Idle) {
            let told = notice("WARNING", "25001", "there is already a transaction in progress");
            send(socket, told).await?;
        }
        self.settings.begin();
        self.transaction = self.transaction.to_in_transaction_state();
        Ok(())
    }

    /// Ends the transaction; the tag says how.
    pub(super) async fn end(&mut self, socket: &mut Socket, commits: bool) -> Result<&'static str, Failure> {
        let commits = commits && !matches!(self.transaction, TransactionStatus::Error);
        if matches!(self.transaction, TransactionStatus::Idle) {
            send(socket, notice("WARNING", "25P01", "there is no transaction in progress")).await?;
        }
        self.transaction = TransactionStatus::Idle;
        self.savepoints.clear();
        self.portals.end_transaction(commits);
        let before = self.reported();
        self.settings.end(commits);
        self.report_changes(socket, &before).await?;
        Ok(if commits { "COMMIT" } else { "ROLLBACK" })
    }

    pub(super) fn savepoint(&mut self, name: String) -> Result<(), Failure> {
        self.check_in_transaction("SAVEPOINT")?;
        if self.savepoints.len() >= MOST_SAVEPOINTS {
            let message = format!("a transaction may have {MOST_SAVEPOINTS} savepoints");
            return Err(Failure::new("53400", message));
        }
        self.savepoints.push(name);
        Ok(())
    }

    /// Forgets a savepoint and those after it.
    pub(super) fn release(&mut self, name: &str) -> Result<(), Failure> {
        self.check_in_transaction("RELEASE SAVEPOINT")?;
        let place = self.place_of(name)?;
        self.savepoints.truncate(place);
        Ok(())
    }

    /// Back to a savepoint, which stays. A transaction that failed goes on from there.
    pub(super) fn roll_back_to(&mut self, name: &str) -> Result<(), Failure> {
        self.check_in_transaction("ROLLBACK TO SAVEPOINT")?;
        let place = self.place_of(name)?;
        self.savepoints.truncate(place + 1);
        self.transaction = TransactionStatus::Transaction;
        Ok(())
    }

    fn check_in_transaction(&self, what: &str) -> Result<(), Failure> {
        match self.transaction {
            TransactionStatus::Idle => {
                Err(Failure::new("25P01", format!("{what} can only be used in transaction blocks")))
            }
            _ => Ok(()),
        }
    }

    /// The newest savepoint of a name.
    fn place_of(&self, name: &str) -> Result<usize, Failure> {
        let missing = || {
            let name: String = name.chars().take(100).collect();
            Failure::new("3B001", format!("savepoint {name:?} does not exist"))
        };
        self.savepoints.iter().rposition(|known| known == name).ok_or_else(missing)
    }
}
