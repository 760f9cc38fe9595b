//! Under which name and incarnation a spool's batches are numbered.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use bailiwick_proto::CollectorId;

use super::sync_dir;

const FILE: &str = "identity";
const TITLE: &str = "bailiwick spool 1";

/// The content of the file `identity`.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) collector_id: CollectorId,
    pub(super) incarnation: u64,
    /// The position on disk of the batch numbered 0.
    pub(super) base: u64,
}

// === impl Identity ===

impl Identity {
    /// A new numbering that begins at `base`.
    pub(super) fn new(collector_id: CollectorId, base: u64) -> Self {
        Self { collector_id, incarnation: now_us(), base }
    }

    /// What the folder says; `None` if it says nothing that can be trusted.
    pub(super) fn read(dir: &Path) -> io::Result<Option<Self>> {
        match fs::read(dir.join(FILE)) {
            Ok(bytes) => Ok(Self::parse(&bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Replaces the file, durably or not at all.
    pub(super) fn write(&self, dir: &Path) -> io::Result<()> {
        let new = dir.join("identity.new");
        let mut file = File::create(&new)?;
        file.write_all(self.text().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, dir.join(FILE))?;
        sync_dir(dir)
    }

    /// The same name with a new incarnation, in which the batch at `base` is number 0.
    pub(super) fn renewed(&self, base: u64) -> Self {
        // A clock that was set back must not bring an old incarnation back.
        let incarnation = now_us().max(self.incarnation + 1);
        Self { collector_id: self.collector_id.clone(), incarnation, base }
    }

    fn text(&self) -> String {
        let Self { collector_id, incarnation, base } = self;
        let text = format!("{TITLE}\ncollector_id {collector_id}\nincarnation {incarnation}\nbase {base}\n");
        let crc = crc32c::crc32c(text.as_bytes());
        format!("{text}crc32c {crc:08x}\n")
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(bytes).ok()?;
        let mut lines = text.lines();
        if lines.next()? != TITLE {
            return None;
        }
        let mut value = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        let collector_id = value("collector_id")?.parse().ok()?;
        let incarnation = value("incarnation")?.parse().ok()?;
        let base = value("base")?.parse().ok()?;
        let read = Self { collector_id, incarnation, base };
        // The checksum and the exact form at once.
        (read.text() == text).then_some(read)
    }
}

fn now_us() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(now.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_changed_byte_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::new("c.n".parse().unwrap(), 7);
        identity.write(dir.path()).unwrap();
        let read = Identity::read(dir.path()).unwrap().unwrap();
        assert_eq!((read.incarnation, read.base), (identity.incarnation, 7));
        let good = fs::read(dir.path().join(FILE)).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(Identity::parse(&bad).is_none(), "byte {at}");
            assert!(Identity::parse(&good[..at]).is_none(), "cut at {at}");
        }
        assert!(read.renewed(9).incarnation > read.incarnation);
    }
}
