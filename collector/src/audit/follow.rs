//! Follows a file that another process appends lines to, through rotations.
//!
//! ```text
//!   audit.log        grows ──▶ lines
//!   renamed          read to its end, then the one that took its place (and
//!                    any that came and went between), oldest first
//!   emptied          (copytruncate) from its start
//!   not there        waits
//! ```
//!
//! Blocking, and without a clock: the caller decides when to look again. Bytes
//! that were appended and cut away between two looks are never seen; nothing
//! tells that they were there.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::bookmark::{Bookmark, HEAD_BYTES, head};

/// What one look reads at most.
const CHUNK_BYTES: usize = 256 << 10;

/// A log, and how far it was read.
#[derive(Debug)]
pub(super) struct Follower {
    path: PathBuf,
    max_line_bytes: usize,
    open: Option<Open>,
    /// Where an earlier process stopped, until a file is open.
    resume: Option<Bookmark>,
    chunk: Vec<u8>,
}

/// What a look found, line by line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<'a> {
    /// One line without its end, and its number in its file, from 1.
    Line { number: u64, text: &'a [u8] },
    /// A line that is longer than allowed; it was skipped.
    TooLong { number: u64 },
    /// The file that the bookmark names is gone: what it had after it is unknown.
    Gone,
}

/// Whether to look again at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// There may be more now.
    More,
    /// At the end; nothing more for now.
    Idle,
    /// The file is not there.
    Absent,
}

/// One generation of the log.
#[derive(Debug)]
struct Open {
    file: File,
    device: u64,
    inode: u64,
    /// The file's first bytes as taken.
    head: Vec<u8>,
    /// The end of the last line taken, and how many lines that were.
    offset: u64,
    line: u64,
    /// Read after `offset`: the beginning of a line whose end is not there yet.
    partial: Vec<u8>,
    /// Bytes read after `offset`, also those of a line that is being skipped.
    ahead: u64,
    skipping: bool,
    /// At its end, and another file has its name: one more look, as its writer
    /// may just be writing its last line.
    left: bool,
}

// === impl Follower ===

impl Follower {
    pub(super) fn new(path: &Path, max_line_bytes: usize, resume: Option<Bookmark>) -> Self {
        Self { path: path.to_owned(), max_line_bytes, open: None, resume, chunk: Vec::new() }
    }

    /// Reads at most one chunk and gives its lines to `found`. After an error
    /// the same bytes are read again.
    pub(super) fn look(&mut self, found: &mut dyn FnMut(Found<'_>)) -> io::Result<Progress> {
        let mut open = match self.open.take() {
            Some(open) => open,
            None => match self.first(found)? {
                Some(open) => open,
                None => return Ok(Progress::Absent),
            },
        };
        let next = match self.step(&mut open, found) {
            Ok(Step::Next) => self.after(&open),
            Ok(Step::Stay(progress)) => {
                self.open = Some(open);
                return Ok(progress);
            }
            Err(error) => Err(error),
        };
        match next {
            Ok(Some(next)) => {
                open.finish(found);
                self.open = Some(next);
                Ok(Progress::More)
            }
            Ok(None) => {
                self.open = Some(open);
                Ok(Progress::Idle)
            }
            Err(error) => {
                open.rewind();
                self.open = Some(open);
                Err(error)
            }
        }
    }

    /// The end of the last line given out.
    pub(super) fn bookmark(&self) -> Option<Bookmark> {
        let Some(open) = &self.open else { return self.resume.clone() };
        Some(Bookmark {
            path: self.path.clone(),
            device: open.device,
            inode: open.inode,
            offset: open.offset,
            line: open.line,
            taken: 0,
            head_bytes: open.head.len() as u64,
            head_crc32c: crc32c::crc32c(&open.head),
        })
    }

    fn step(&mut self, open: &mut Open, found: &mut dyn FnMut(Found<'_>)) -> io::Result<Step> {
        self.chunk.resize(CHUNK_BYTES, 0);
        let count = open.file.read(&mut self.chunk)?;
        // Looked at after the read: if the beginning is still the same, then so
        // was what the read returned.
        if open.was_emptied()? {
            open.restart()?;
            return Ok(Step::Stay(Progress::More));
        }
        if count > 0 {
            let chunk = self.chunk.get(..count).unwrap_or_default();
            open.take(chunk, self.max_line_bytes, found);
            open.left = false;
            return Ok(Step::Stay(Progress::More));
        }
        match fs::metadata(&self.path) {
            Ok(now) if (now.dev(), now.ino()) == (open.device, open.inode) => open.left = false,
            Ok(_) if open.left => return Ok(Step::Next),
            Ok(_) => open.left = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Step::Stay(Progress::Idle))
    }

    /// Opens where an earlier process stopped, or the log from its start.
    fn first(&mut self, found: &mut dyn FnMut(Found<'_>)) -> io::Result<Option<Open>> {
        if let Some(bookmark) = &self.resume {
            for (_, path) in self.generations() {
                let Some(file) = self.readable(&path)? else { continue };
                if bookmark.fits(&file)? {
                    let open = Open::at(file, bookmark)?;
                    self.resume = None;
                    return Ok(Some(open));
                }
            }
        }
        let Some(file) = self.readable(&self.path)? else { return Ok(None) };
        let open = Open::start(file)?;
        if self.resume.take().is_some() {
            found(Found::Gone);
        }
        Ok(Some(open))
    }

    /// The generation that follows: one that was renamed as well meanwhile, or
    /// the one that has the name now.
    fn after(&self, before: &Open) -> io::Result<Option<Open>> {
        let modified = before.file.metadata()?.modified()?;
        for (time, path) in self.generations() {
            if time.is_some_and(|time| time < modified) {
                continue;
            }
            let Some(file) = self.readable(&path)? else { continue };
            let open = Open::start(file)?;
            if (open.device, open.inode) != (before.device, before.inode) {
                return Ok(Some(open));
            }
        }
        Ok(None)
    }

    /// The renamed generations of the log by their last change, oldest first, and
    /// the log itself. A folder that cannot be listed shows the log alone.
    fn generations(&self) -> Vec<(Option<SystemTime>, PathBuf)> {
        let folder = match self.path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        let entries = fs::read_dir(folder).into_iter().flatten().flatten();
        let earlier = entries.filter(|entry| is_generation(&name, &entry.file_name().to_string_lossy()));
        let dated = |entry: fs::DirEntry| Some((Some(entry.metadata().ok()?.modified().ok()?), entry.path()));
        let mut found: Vec<_> = earlier.filter_map(dated).collect();
        found.sort();
        found.push((None, self.path.clone()));
        found
    }

    /// An earlier generation that this user may not read is passed over; the log
    /// itself must be readable.
    fn readable(&self, path: &Path) -> io::Result<Option<File>> {
        match existing(path) {
            Err(error) if path != self.path => {
                tracing::debug!(path = %path.display(), %error, "earlier audit log is not read");
                Ok(None)
            }
            other => other,
        }
    }
}

enum Step {
    Stay(Progress),
    Next,
}

/// Whether `other` is what rotation calls an earlier `name`: `audit.log.1`,
/// `audit.log-20261124`, `audit-2026-11-24T01-02-03.004.log`. Compressed ones
/// are not read.
fn is_generation(name: &str, other: &str) -> bool {
    let (stem, extension) = name.rsplit_once('.').unwrap_or((name, ""));
    let middle = match other.strip_prefix(name) {
        Some(rest) => rest,
        None => {
            let Some(rest) = other.strip_prefix(stem) else { return false };
            let Some(rest) = rest.strip_suffix(extension).and_then(|rest| rest.strip_suffix('.')) else {
                return false;
            };
            rest
        }
    };
    let Some(number) = middle.strip_prefix(['.', '-']) else { return false };
    number.starts_with(|first: char| first.is_ascii_digit())
        && number.chars().all(|each| each.is_ascii_digit() || matches!(each, 'T' | '-' | '.' | ':' | '_'))
}

/// The file if it is one that can be followed. Opening a pipe would wait for its
/// writer, so the kind is looked at before.
fn existing(path: &Path) -> io::Result<Option<File>> {
    let absent =
        |error: io::Error| if error.kind() == io::ErrorKind::NotFound { Ok(None) } else { Err(error) };
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_file() => File::open(path).map(Some).or_else(absent),
        Ok(_) => Err(io::Error::other("this is not a regular file")),
        Err(error) => absent(error),
    }
}

// === impl Open ===

impl Open {
    fn start(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            file,
            head: Vec::new(),
            offset: 0,
            line: 0,
            partial: Vec::new(),
            ahead: 0,
            skipping: false,
            left: false,
        })
    }

    fn at(file: File, bookmark: &Bookmark) -> io::Result<Self> {
        let mut open = Self::start(file)?;
        let length = usize::try_from(bookmark.head_bytes).unwrap_or(usize::MAX).min(HEAD_BYTES);
        open.head = head(&open.file, length)?.unwrap_or_default();
        open.file.seek(SeekFrom::Start(bookmark.offset))?;
        open.offset = bookmark.offset;
        open.line = bookmark.line;
        Ok(open)
    }

    /// Whether the file is shorter than what was read, or begins otherwise.
    fn was_emptied(&self) -> io::Result<bool> {
        if self.file.metadata()?.len() < self.offset + self.ahead {
            return Ok(true);
        }
        Ok(head(&self.file, self.head.len())?.is_none_or(|head| head != self.head))
    }

    fn restart(&mut self) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(0))?;
        self.offset = 0;
        self.line = 0;
        self.head.clear();
        self.partial.clear();
        self.ahead = 0;
        self.skipping = false;
        Ok(())
    }

    /// Back to the last line taken, so that nothing is skipped after an error.
    fn rewind(&mut self) {
        self.partial.clear();
        self.ahead = 0;
        self.skipping = false;
        if let Err(error) = self.file.seek(SeekFrom::Start(self.offset)) {
            tracing::warn!(%error, "audit log cannot be repositioned");
        }
    }

    fn take(&mut self, chunk: &[u8], max_line_bytes: usize, found: &mut dyn FnMut(Found<'_>)) {
        let wanted = HEAD_BYTES.saturating_sub(self.head.len());
        if self.head.len() as u64 == self.offset + self.ahead {
            self.head.extend(chunk.iter().take(wanted));
        }
        for piece in chunk.split_inclusive(|byte| *byte == b'\n') {
            self.ahead += piece.len() as u64;
            match piece.strip_suffix(b"\n") {
                Some(end) => {
                    self.grow(end, max_line_bytes);
                    self.end_line(found);
                }
                None => self.grow(piece, max_line_bytes),
            }
        }
    }

    fn grow(&mut self, piece: &[u8], max_line_bytes: usize) {
        if self.skipping || self.partial.len() + piece.len() > max_line_bytes {
            self.skipping = true;
            self.partial = Vec::new();
        } else {
            self.partial.extend_from_slice(piece);
        }
    }

    fn end_line(&mut self, found: &mut dyn FnMut(Found<'_>)) {
        self.line += 1;
        self.offset += self.ahead;
        self.ahead = 0;
        let text = std::mem::take(&mut self.partial);
        if std::mem::take(&mut self.skipping) {
            found(Found::TooLong { number: self.line });
            return;
        }
        // A writer that keeps its own position leaves a hole after copytruncate.
        let hole = text.iter().take_while(|byte| **byte == 0).count();
        let line = text.get(hole..).unwrap_or_default().trim_ascii();
        if !line.is_empty() {
            found(Found::Line { number: self.line, text: line });
        }
    }

    /// A file that nobody appends to any more ends its last line.
    fn finish(&mut self, found: &mut dyn FnMut(Found<'_>)) {
        if self.ahead > 0 {
            self.end_line(found);
        }
    }
}

#[cfg(test)]
mod tests;
