//! Names of users and groups on this node, from its passwd and group files.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

/// What stands for a number without a name, as Falco writes it.
pub(crate) const NO_NAME: &str = "<NA>";
/// A larger file is not read: it is not written by people.
const MAX_BYTES: u64 = 16 << 20;

/// Names by number, read again when a file changes.
#[derive(Debug)]
pub(crate) struct Users {
    users: Names,
    groups: Names,
}

#[derive(Debug)]
struct Names {
    path: PathBuf,
    changed: Option<SystemTime>,
    by_id: HashMap<u32, Arc<str>>,
}

// === impl Users ===

impl Users {
    /// Reads the node's files; one that is missing names nobody.
    pub(crate) fn read() -> Self {
        Self::of("/etc/passwd".into(), "/etc/group".into())
    }

    /// Of these files.
    pub(crate) fn of(passwd: PathBuf, group: PathBuf) -> Self {
        let names = |path| Names { path, changed: None, by_id: HashMap::new() };
        let mut users = Self { users: names(passwd), groups: names(group) };
        users.refresh();
        users
    }

    /// Reads again what has changed. Cheap when nothing has.
    pub(crate) fn refresh(&mut self) {
        self.users.refresh();
        self.groups.refresh();
    }

    /// The user's name, or [`NO_NAME`].
    pub(crate) fn user(&self, uid: u32) -> &str {
        self.users.by_id.get(&uid).map_or(NO_NAME, |name| name)
    }

    /// The group's name, or [`NO_NAME`].
    pub(crate) fn group(&self, gid: u32) -> &str {
        self.groups.by_id.get(&gid).map_or(NO_NAME, |name| name)
    }
}

// === impl Names ===

impl Names {
    fn refresh(&mut self) {
        let metadata = fs::metadata(&self.path).ok().filter(|metadata| metadata.len() <= MAX_BYTES);
        let changed = metadata.and_then(|metadata| metadata.modified().ok());
        if changed == self.changed {
            return;
        }
        self.changed = changed;
        let text = fs::read(&self.path).unwrap_or_default();
        self.by_id = parse(&String::from_utf8_lossy(&text));
    }
}

/// Lines of `name:password:number:...`; the first line with a number counts, as
/// in the C library.
fn parse(text: &str) -> HashMap<u32, Arc<str>> {
    let mut by_id = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        if let (Some(name), Some(id)) = (fields.next(), fields.nth(1).and_then(|id| id.parse().ok())) {
            by_id.entry(id).or_insert_with(|| name.into());
        }
    }
    by_id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_files() {
        let dir = tempfile::tempdir().unwrap();
        let (passwd, group) = (dir.path().join("passwd"), dir.path().join("group"));
        fs::write(&passwd, "root:x:0:0:root:/root:/bin/bash\nadmin:x:0:0::/:/bin/sh\nbad line\nx:y:z\n")
            .unwrap();
        let mut users = Users::of(passwd.clone(), group.clone());
        assert_eq!((users.user(0), users.user(7), users.group(0)), ("root", NO_NAME, NO_NAME));
        fs::write(&group, "wheel:x:0:\n").unwrap();
        users.refresh();
        assert_eq!(users.group(0), "wheel");
        fs::remove_file(&passwd).unwrap();
        users.refresh();
        assert_eq!(users.user(0), NO_NAME);
    }
}
