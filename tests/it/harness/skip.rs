//! Tests that need more than an ordinary machine say so, or fail where they must run.

/// Whether this process may load kernel programs; prints why a test is skipped otherwise.
pub(crate) fn without_kernel() -> bool {
    let root = nix::unistd::geteuid().is_root();
    let btf = std::path::Path::new("/sys/kernel/btf/vmlinux").exists();
    missing(root && btf, "needs root and a kernel with BTF", "BAILIWICK_REQUIRE_KERNEL")
}

/// A Python that has `deltalake` and `duckdb`, if there is one.
pub(crate) fn python_with_readers() -> Option<String> {
    let python = std::env::var("BAILIWICK_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe = std::process::Command::new(&python).args(["-c", "import deltalake, duckdb"]).output();
    let found = probe.is_ok_and(|output| output.status.success());
    let missing = missing(found, "needs Python with deltalake and duckdb", "BAILIWICK_REQUIRE_CLIENTS");
    (!missing).then_some(python)
}

/// A Python that has these modules, if there is one.
pub(crate) fn python_with(modules: &str) -> Option<String> {
    let python = std::env::var("BAILIWICK_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = succeeds(std::process::Command::new(&python).args(["-c", &format!("import {modules}")]));
    let missing = missing(found, &format!("needs Python with {modules}"), "BAILIWICK_REQUIRE_CLIENTS");
    (!missing).then_some(python)
}

/// A folder of Node's modules that has `pg` and what reads in portions, if there is one.
pub(crate) fn node_modules() -> Option<std::path::PathBuf> {
    let folder = std::env::var_os("BAILIWICK_TEST_NODE_MODULES").unwrap_or_default();
    let needs = "require('pg'); require('pg-cursor'); require('pg-query-stream')";
    let found = succeeds(std::process::Command::new("node").args(["-e", needs]).env("NODE_PATH", &folder));
    let missing = missing(
        found,
        "needs node, and pg, pg-cursor and pg-query-stream in BAILIWICK_TEST_NODE_MODULES",
        "BAILIWICK_REQUIRE_CLIENTS",
    );
    (!missing).then(|| folder.into())
}

/// PostgreSQL's JDBC driver as Debian installs it, and a Java to run it.
pub(crate) fn pgjdbc() -> Option<std::path::PathBuf> {
    let driver = std::path::PathBuf::from("/usr/share/java/postgresql.jar");
    let found = driver.exists() && succeeds(std::process::Command::new("javac").arg("-version"));
    let missing = missing(found, "needs a JDK and libpostgresql-jdbc-java", "BAILIWICK_REQUIRE_CLIENTS");
    (!missing).then_some(driver)
}

fn succeeds(command: &mut std::process::Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// Whether `curl` is there.
pub(crate) fn without_curl() -> bool {
    let found = succeeds(std::process::Command::new("curl").arg("--version"));
    missing(found, "needs curl", "BAILIWICK_REQUIRE_CLIENTS")
}

/// A Python, if there is one.
pub(crate) fn python() -> Option<String> {
    let python = std::env::var("BAILIWICK_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let found = std::process::Command::new(&python).arg("--version").output().is_ok();
    let missing = missing(found, "needs Python", "BAILIWICK_REQUIRE_CLIENTS");
    (!missing).then_some(python)
}

/// Whether `psql` is there.
pub(crate) fn without_psql() -> bool {
    let found = std::process::Command::new("psql").arg("--version").output().is_ok();
    missing(found, "needs psql", "BAILIWICK_REQUIRE_CLIENTS")
}

/// Whether containers can be made, in roots of their own.
pub(crate) fn without_containers() -> bool {
    let has = |program: &str| std::process::Command::new(program).arg("--version").output().is_ok();
    let overlay = std::fs::read_to_string("/proc/filesystems").is_ok_and(|known| known.contains("overlay"));
    let found = overlay && ["runc", "perl", "chroot", "nsenter", "setpriv", "ip"].into_iter().all(has);
    missing(
        found,
        "needs overlayfs, runc, perl, chroot, nsenter, setpriv and ip",
        "BAILIWICK_REQUIRE_CONTAINERS",
    )
}

/// Whether there is no such user; prints which case is skipped then.
pub(crate) fn without_user(user: &str, case: &str) -> bool {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let found = passwd.lines().any(|line| line.split(':').next() == Some(user));
    missing(found, &format!("{case} needs a user {user}"), "BAILIWICK_REQUIRE_CONTAINERS")
}

/// Whether a file or folder of cases from elsewhere is not beside the project.
pub(crate) fn without_corpus(path: &std::path::Path) -> bool {
    let what = format!("{} is not here", path.display());
    missing(path.exists(), &what, "BAILIWICK_REQUIRE_CORPORA")
}

fn missing(found: bool, what: &str, required_by: &str) -> bool {
    if found {
        return false;
    }
    assert!(std::env::var_os(required_by).is_none(), "{what}, and {required_by} is set");
    println!("skipped: {what}");
    true
}
