//! How far a log was read, kept where a restart finds it.
//!
//! A place is an inode and an offset. Inodes are used again and files are
//! emptied and filled again, so the file's first bytes are part of it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// How many of a file's first bytes tell it from another.
pub(super) const HEAD_BYTES: usize = 256;
/// A bookmark is a few hundred bytes; a larger file is none.
const MAX_BYTES: u64 = 16 << 10;

/// The end of the last line that was taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Bookmark {
    /// The log as configured; another log starts anew.
    pub(super) path: PathBuf,
    pub(super) device: u64,
    pub(super) inode: u64,
    /// Bytes from the file's start.
    pub(super) offset: u64,
    /// Lines before it in this file.
    pub(super) line: u64,
    /// Counts the places that were ever noted: of two the greater is the later one.
    #[serde(default)]
    pub(super) taken: u64,
    /// How many first bytes the checksum covers, at most [`HEAD_BYTES`] and
    /// never beyond `offset`.
    pub(super) head_bytes: u64,
    /// Their CRC-32C.
    pub(super) head_crc32c: u32,
}

/// Where the bookmark is kept.
#[derive(Debug, Clone)]
pub(super) struct Shelf {
    file: PathBuf,
}

// === impl Bookmark ===

impl Bookmark {
    /// Whether `file` is the file that this was taken in, grown or not.
    pub(super) fn fits(&self, file: &File) -> io::Result<bool> {
        let metadata = file.metadata()?;
        if (metadata.dev(), metadata.ino()) != (self.device, self.inode) || metadata.len() < self.offset {
            return Ok(false);
        }
        let length = usize::try_from(self.head_bytes).unwrap_or(usize::MAX).min(HEAD_BYTES);
        Ok(head(file, length)?.is_some_and(|head| crc32c::crc32c(&head) == self.head_crc32c))
    }
}

/// A file's first `length` bytes, or none if it has fewer.
pub(super) fn head(file: &File, length: usize) -> io::Result<Option<Vec<u8>>> {
    let mut head = vec![0; length];
    match file.read_exact_at(&mut head, 0) {
        Ok(()) => Ok(Some(head)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

// === impl Shelf ===

impl Shelf {
    /// In this folder, which outlives the process.
    pub(super) fn new(folder: &Path) -> Self {
        Self { file: folder.join("audit_file.bookmark") }
    }

    /// The bookmark, of whichever log. None if there is none that can be read: then
    /// a log is read from its start, which repeats events rather than lose any.
    pub(super) fn load(&self) -> Option<Bookmark> {
        let text = match fs::metadata(&self.file) {
            Ok(metadata) if metadata.len() <= MAX_BYTES => fs::read(&self.file),
            Ok(_) => Err(io::Error::other("file is too large")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => Err(error),
        };
        let read = text.and_then(|text| Ok(serde_json::from_slice::<Bookmark>(&text)?));
        match read {
            Ok(bookmark) => Some(bookmark),
            Err(error) => {
                tracing::warn!(file = %self.file.display(), %error, "bookmark of the audit log is unreadable, reading the log from its start");
                None
            }
        }
    }

    /// The later of the bookmark and what the spool remembers: the place behind rows
    /// that were durable when the process was killed. True where that is not on
    /// the shelf yet.
    pub(super) fn newest(&self, mark: Option<&[u8]>) -> (Option<Bookmark>, bool) {
        let noted = self.load();
        let mark = mark.and_then(|mark| match serde_json::from_slice::<Bookmark>(mark) {
            Ok(bookmark) => Some(bookmark),
            Err(error) => {
                tracing::warn!(%error, "mark in the spool is unreadable, the bookmark counts");
                None
            }
        });
        match mark {
            Some(mark) if noted.as_ref().is_none_or(|noted| noted.taken < mark.taken) => (Some(mark), true),
            _ => (noted, false),
        }
    }

    /// Replaces the bookmark, durably; after a crash there is the old one or the new one.
    pub(super) fn save(&self, bookmark: &Bookmark) -> io::Result<()> {
        let fresh = self.file.with_extension("bookmark.new");
        let mut file = File::create(&fresh)?;
        file.write_all(&serde_json::to_vec(bookmark)?)?;
        file.sync_data()?;
        fs::rename(&fresh, &self.file)?;
        self.file.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }
}
