//! Wire batches in a file, so that making them costs nobody's measured time.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

/// A batch as it goes over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WireBatch {
    /// How many rows it holds.
    pub rows: usize,
    /// The Arrow IPC stream.
    pub bytes: Vec<u8>,
}

/// Writes batches one after the other.
#[derive(Debug)]
pub struct Recorder(BufWriter<File>);

/// Reads a whole file of batches.
pub fn read(path: &Path) -> std::io::Result<Vec<WireBatch>> {
    let mut file = BufReader::new(File::open(path)?);
    let (mut batches, mut head) = (Vec::new(), [0; 16]);
    while file.read(&mut head[..1])? == 1 {
        file.read_exact(&mut head[1..])?;
        let [rows, length] = [0, 8].map(|at| {
            let mut number = [0; 8];
            number.copy_from_slice(&head[at..at + 8]);
            u64::from_le_bytes(number) as usize
        });
        let mut bytes = vec![0; length];
        file.read_exact(&mut bytes)?;
        batches.push(WireBatch { rows, bytes });
    }
    Ok(batches)
}

// === impl Recorder ===

impl Recorder {
    /// Begins a file.
    pub fn create(path: &Path) -> std::io::Result<Self> {
        Ok(Self(BufWriter::new(File::create(path)?)))
    }

    /// Adds a batch.
    pub fn push(&mut self, batch: &WireBatch) -> std::io::Result<()> {
        self.0.write_all(&(batch.rows as u64).to_le_bytes())?;
        self.0.write_all(&(batch.bytes.len() as u64).to_le_bytes())?;
        self.0.write_all(&batch.bytes)
    }

    /// Ends the file.
    pub fn finish(mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_read_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("batches");
        let batches: Vec<_> =
            (0..3).map(|rows| WireBatch { rows, bytes: vec![rows as u8; rows * 10] }).collect();
        let mut recorder = Recorder::create(&path).unwrap();
        batches.iter().for_each(|batch| recorder.push(batch).unwrap());
        recorder.finish().unwrap();
        assert_eq!(read(&path).unwrap(), batches);
    }
}
