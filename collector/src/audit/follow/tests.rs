use std::fs::OpenOptions;
use std::io::Write;

use proptest::prelude::*;

use super::*;

const MAX: usize = 100;

/// A log in a folder of its own.
struct Log {
    dir: tempfile::TempDir,
}

impl Log {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("audit.log")
    }

    fn append(&self, text: &str) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.path()).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    fn rename(&self, name: &str) {
        fs::rename(self.path(), self.dir.path().join(name)).unwrap();
    }

    fn follower(&self, resume: Option<Bookmark>) -> Follower {
        Follower::new(&self.path(), MAX, resume)
    }
}

/// Looks until nothing is left, twice, as after a rotation there is a grace look.
fn seen(follower: &mut Follower) -> Vec<String> {
    let mut seen = Vec::new();
    let mut quiet = 0;
    while quiet < 2 {
        let progress = follower.look(&mut |found| {
            seen.push(match found {
                Found::Line { number, text } => format!("{number}:{}", String::from_utf8_lossy(text)),
                Found::TooLong { number } => format!("{number}:too long"),
                Found::Gone => "gone".to_owned(),
            });
        });
        quiet = if progress.unwrap() == Progress::More { 0 } else { quiet + 1 };
    }
    seen
}

#[test]
fn lines_are_given_once_and_only_when_whole() {
    let log = Log::new();
    let mut follower = log.follower(None);
    assert_eq!(seen(&mut follower), Vec::<String>::new(), "it is not there yet");
    log.append("a\nb\n\nc");
    assert_eq!(seen(&mut follower), ["1:a", "2:b"]);
    log.append("c\r\n");
    assert_eq!(seen(&mut follower), ["4:cc"]);
    assert_eq!(seen(&mut follower), Vec::<String>::new());
}

#[test]
fn a_renamed_log_is_read_to_its_end_first() {
    let log = Log::new();
    let mut follower = log.follower(None);
    log.append("a\n");
    assert_eq!(seen(&mut follower), ["1:a"]);
    log.append("b\nlast words without an end");
    log.rename("audit.log.1");
    log.append("c\n");
    assert_eq!(seen(&mut follower), ["2:b", "3:last words without an end", "1:c"]);
}

#[test]
fn generations_that_came_and_went_between_two_looks_are_read_in_order() {
    let log = Log::new();
    let mut follower = log.follower(None);
    for (text, name) in
        [("a\n", "audit-2026-11-24T01-00-00.000.log"), ("b\n", "audit-2026-11-24T02-00-00.000.log")]
    {
        log.append(text);
        if text == "a\n" {
            assert_eq!(seen(&mut follower), ["1:a"]);
        }
        log.rename(name);
        // File times have a coarse grain.
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    log.append("c\n");
    assert_eq!(seen(&mut follower), ["1:b", "1:c"]);
}

#[test]
fn an_emptied_log_is_read_from_its_start() {
    let log = Log::new();
    let mut follower = log.follower(None);
    log.append("a\nb\n");
    assert_eq!(seen(&mut follower), ["1:a", "2:b"]);
    File::create(log.path()).unwrap();
    log.append("c\n");
    assert_eq!(seen(&mut follower), ["1:c"]);
    // Filled beyond the old end between two looks: only its beginning tells.
    fs::write(log.path(), "d, which is longer\ne\n").unwrap();
    assert_eq!(seen(&mut follower), ["1:d, which is longer", "2:e"]);
}

#[test]
fn the_hole_that_copytruncate_leaves_is_not_part_of_a_line() {
    let log = Log::new();
    let mut follower = log.follower(None);
    log.append("\0\0\0\0{}\n");
    assert_eq!(seen(&mut follower), ["1:{}"]);
}

#[test]
fn a_line_without_end_takes_no_memory() {
    let log = Log::new();
    let mut follower = log.follower(None);
    log.append(&"x".repeat(CHUNK_BYTES * 2));
    assert_eq!(seen(&mut follower), Vec::<String>::new());
    assert!(follower.open.as_ref().unwrap().partial.capacity() <= MAX);
    log.append("\nafter\n");
    assert_eq!(seen(&mut follower), ["1:too long", "2:after"]);
}

#[test]
fn a_restart_goes_on_where_it_stopped() {
    let log = Log::new();
    let mut follower = log.follower(None);
    log.append("a\nb\nhal");
    assert_eq!(seen(&mut follower), ["1:a", "2:b"]);
    let bookmark = follower.bookmark();
    log.append("f\n");
    assert_eq!(seen(&mut log.follower(bookmark.clone())), ["3:half"]);
    log.rename("audit.log.1");
    log.append("c\n");
    assert_eq!(seen(&mut log.follower(bookmark)), ["3:half", "1:c"]);
}

#[test]
fn a_bookmark_whose_file_is_gone_says_so() {
    let log = Log::new();
    let mut follower = log.follower(None);
    log.append("a\n");
    seen(&mut follower);
    let bookmark = follower.bookmark();
    fs::remove_file(log.path()).unwrap();
    log.append("other\n");
    assert_eq!(seen(&mut log.follower(bookmark)), ["gone", "1:other"]);
}

#[test]
fn what_only_looks_like_a_generation_does_no_harm() {
    let log = Log::new();
    let mut follower = log.follower(None);
    log.append("a\n");
    assert_eq!(seen(&mut follower), ["1:a"]);
    log.rename("audit.log.1");
    fs::create_dir(log.dir.path().join("audit.log.2")).unwrap();
    nix::unistd::mkfifo(&log.dir.path().join("audit.log.3"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    log.append("b\n");
    assert_eq!(seen(&mut follower), ["1:b"]);
    let pipe = Follower::new(&log.dir.path().join("audit.log.3"), MAX, None).look(&mut |_| {});
    assert_eq!(pipe.unwrap_err().to_string(), "this is not a regular file");
}

#[test]
fn names_that_rotation_gives() {
    for other in ["audit.log.1", "audit.log-20261124", "audit-2026-11-24T01-02-03.004.log"] {
        assert!(is_generation("audit.log", other), "{other}");
    }
    for other in
        ["audit.log", "audit-policy.yaml", "audit.log.1.gz", "audit.log.bak", "audit-old.log", "audit.json"]
    {
        assert!(!is_generation("audit.log", other), "{other}");
    }
}

#[test]
fn a_bookmark_survives_its_shelf_and_nonsense_does_not() {
    let log = Log::new();
    let mut follower = log.follower(None);
    log.append("a\n");
    seen(&mut follower);
    let shelf = super::super::bookmark::Shelf::new(log.dir.path());
    assert_eq!(shelf.load(), None);
    let bookmark = follower.bookmark().unwrap();
    shelf.save(&bookmark).unwrap();
    assert_eq!(shelf.load(), Some(bookmark));
    fs::write(log.dir.path().join("audit_file.bookmark"), "{\"path\":7}").unwrap();
    assert_eq!(shelf.load(), None);
}

/// What happens to a log between looks.
#[derive(Debug, Clone)]
enum Step {
    Append(String),
    Rotate,
    Look,
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        5 => "[a-z]{0,12}\n?[a-z]{0,3}".prop_map(Step::Append),
        1 => Just(Step::Rotate),
        3 => Just(Step::Look),
        1 => Just(Step::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Goal: every line is given once, in order, whatever is renamed when and
    /// however often the reader starts again from its bookmark. Method: compare
    /// with all that was appended, rotation ending a line.
    #[test]
    fn nothing_is_lost_and_nothing_comes_twice(steps in prop::collection::vec(step(), 1..40)) {
        let log = Log::new();
        let mut follower = log.follower(None);
        let (mut written, mut rotations) = ("begin\n".to_owned(), 0);
        log.append(&written);
        let mut found = seen(&mut follower);
        for step in steps {
            match step {
                Step::Append(text) => {
                    log.append(&text);
                    written.push_str(&text);
                }
                Step::Rotate if log.path().exists() => {
                    rotations += 1;
                    log.rename(&format!("audit.log.{rotations}"));
                    std::thread::sleep(std::time::Duration::from_millis(5));
                    log.append("");
                    written.push('\n');
                }
                Step::Rotate => {}
                Step::Look => found.extend(seen(&mut follower)),
                Step::Restart => follower = log.follower(follower.bookmark()),
            }
        }
        log.append("end\n");
        written.push_str("end\n");
        found.extend(seen(&mut follower));
        let expected: Vec<&str> = written.lines().filter(|line| !line.is_empty()).collect();
        let found: Vec<&str> = found.iter().map(|line| line.split_once(':').unwrap().1).collect();
        prop_assert_eq!(found, expected);
    }
}
