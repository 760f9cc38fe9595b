//! Where what was typed is kept: a file of the person's own.

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The file, made if it was not there, readable by nobody else; nothing where
/// there is no place for it.
pub(super) fn file() -> Option<PathBuf> {
    let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let file = state.or_else(home)?.join("bailiwick/sql_history");
    match make(&file) {
        Ok(()) => Some(file),
        Err(error) => {
            tracing::warn!(file = %file.display(), %error, "what is typed is not kept");
            None
        }
    }
}

fn make(file: &Path) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let made = OpenOptions::new().append(true).create(true).mode(0o600).open(file)?;
    // Statements name what people look for; an older file may be open to all.
    made.set_permissions(std::fs::Permissions::from_mode(0o600))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_else_reads_what_was_typed() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("state/bailiwick/sql_history");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        make(&file).unwrap();
        assert_eq!((mode(&file), mode(file.parent().unwrap())), (0o600, 0o700));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        std::fs::write(&file, "SELECT 1\n").unwrap();
        make(&file).unwrap();
        assert_eq!(mode(&file), 0o600);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "SELECT 1\n");
    }
}
