//! What the event generator does to set off each rule, done anew.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use serde_json::{Map, Value};

use super::sandbox::{Place, Sandbox};
use super::{Case, RULES, corpus};

/// An address that is neither local nor private; the container reaches itself there.
const ELSEWHERE: &str = "203.0.113.1";
/// Where cloud machines ask who they are.
const METADATA: &str = "169.254.169.254";

/// An action of the generator.
struct Action {
    name: &'static str,
    place: Place,
    user: Option<&'static str>,
    /// Copies below /tmp/eg: of which program, named how.
    copies: &'static [(&'static str, &'static str)],
    run: &'static [&'static str],
}

const fn action(name: &'static str, place: Place, run: &'static [&'static str]) -> Action {
    Action { name, place, user: None, copies: &[], run }
}

const TRUE: &str = "/bin/true";
const SH: &str = "/bin/sh";
const PERL: &str = "/usr/bin/perl";

use Place::{Capable, Container, Host, Privileged};

#[rustfmt::skip]
const ACTIONS: &[Action] = &[
    action("AddingSshKeysToAuthorizedKeys", Container, &["sh", "-c", "mkdir -p /home/eg/.ssh; echo key >> /home/eg/.ssh/authorized_keys"]),
    action("ChangeNamespacePrivilegesViaUnshare", Container, &["unshare", "-U", "true"]),
    action("ChangeThreadNamespace", Container, &["perl", "-e", "open F, '<', '/proc/self/ns/uts'; syscall(308, fileno(F), 0)"]),
    action("ClearLogActivities", Container, &["sh", "-c", ": > /var/log/secure"]),
    action("ContactEC2InstanceMetadataServiceFromContainer", Capable, &["perl", "-e", CONNECT, "2", METADATA, "80"]),
    action("CreateFilesBelowDev", Container, &["sh", "-c", ": > /dev/created-by-eg"]),
    action("CreateHardlinkOverSensitiveFiles", Container, &["ln", "/etc/shadow", "/etc/eg-hardlink"]),
    action("CreateSymlinkOverSensitiveFiles", Container, &["ln", "-s", "/etc/shadow", "/tmp/eg-symlink"]),
    Action { copies: &[(SH, "mysqld")], ..action("DbProgramSpawnedProcess", Host, &["/tmp/eg/mysqld", "-c", "ls /; true"]) },
    Action { copies: &[(TRUE, "debugfs")], ..action("DebugfsLaunchedInPrivilegedContainer", Privileged, &["/tmp/eg/debugfs"]) },
    action("DeleteOrRenameShellHistory", Container, &["sh", "-c", ": > /root/.bash_history; rm /root/.bash_history"]),
    action("DetectReleaseAgentFileContainerEscapes", Capable, &["sh", "-c", ": > /tmp/release_agent"]),
    action("DirectoryTraversalMonitoredFileRead", Host, &["perl", "-e", "open F, '<', '/etc/../etc/../etc/shadow'"]),
    Action { copies: &[(PERL, "ssh")], ..action("DisallowedSSHConnectionNonStandardPort", Capable, &["/tmp/eg/ssh", "-e", LISTENED, ELSEWHERE, "443"]) },
    action("DropAndExecuteNewBinaryInContainer", Container, &["sh", "-c", "cp /bin/true /tmp/eg-dropped; /tmp/eg-dropped"]),
    action("ExecutionFromDevShm", Host, &["sh", "-c", "cp /bin/true /dev/shm/eg; /dev/shm/eg"]),
    action("FilelessExecutionViaMemfdCreate", Host, &["perl", "-e", FILELESS]),
    action("FindAwsCredentials", Host, &["sh", "-c", "grep aws_secret_access_key /etc/hostname; true"]),
    Action { copies: &[(TRUE, "wget")], ..action("LaunchIngressRemoteFileCopyToolsInContainer", Container, &["/tmp/eg/wget"]) },
    Action { copies: &[(TRUE, "dpkg")], ..action("LaunchPackageManagementProcessInContainer", Container, &["/tmp/eg/dpkg"]) },
    Action { copies: &[(TRUE, "rsync")], ..action("LaunchRemoteFileCopyToolsInContainer", Container, &["/tmp/eg/rsync"]) },
    Action { copies: &[(TRUE, "nmap")], ..action("LaunchSuspiciousNetworkToolInContainer", Container, &["/tmp/eg/nmap"]) },
    Action { copies: &[(TRUE, "nmap")], ..action("LaunchSuspiciousNetworkToolOnHost", Host, &["/tmp/eg/nmap"]) },
    action("ModifyShellConfigurationFile", Container, &["perl", "-e", "open F, '>>', '/root/.bashrc'"]),
    Action { copies: &[(TRUE, "mount")], ..action("MountLaunchedInPrivilegedContainer", Privileged, &["/tmp/eg/mount", "/dev/a", "/b"]) },
    Action { copies: &[(TRUE, "nc")], ..action("NetcatRemoteCodeExecutionInContainer", Container, &["/tmp/eg/nc", "-e", "/bin/sh"]) },
    Action { user: Some("daemon"), ..action("NonSudoSetuid", Host, &["perl", "-e", "syscall(105, 1)"]) },
    action("PacketSocketCreatedInContainer", Capable, &["perl", "-e", "syscall(41, 17, 3, 768)"]),
    action("PotentialLocalPrivilegeEscalationViaEnvironmentVariablesMisuse", Host, &["sh", "-c", "GLIBC_TUNABLES=glibc.malloc.check=0 /bin/true"]),
    Action { copies: &[(TRUE, "curl")], ..action("ProgramRunWithDisallowedHttpProxyEnv", Host, &["sh", "-c", "HTTP_PROXY=http://eg.example /tmp/eg/curl"]) },
    action("PtraceAntiDebugAttempt", Host, &["perl", "-e", "syscall(101, 0, 0, 0, 0)"]),
    action("PtraceAttachedToProcess", Host, &["perl", "-e", "my $p = fork || sleep 5; syscall(101, 16, $p, 0, 0); kill 9, $p"]),
    action("ReadEnvironmentVariableFromProcFiles", Container, &["cat", "/proc/self/environ"]),
    Action { copies: &[(PERL, "httpd")], ..action("ReadSensitiveFileTrustedAfterStartup", Host, &["/tmp/eg/httpd", "-e", "sleep 6; open F, '<', '/etc/shadow'"]) },
    action("ReadSensitiveFileUntrusted", Host, &["perl", "-e", "open F, '<', '/etc/shadow'"]),
    action("ReadSshInformation", Container, &["sh", "-c", "mkdir -p /root/.ssh; : > /root/.ssh/eg; cat /root/.ssh/eg"]),
    Action { copies: &[(TRUE, "shred")], ..action("RemoveBulkDataFromDisk", Host, &["/tmp/eg/shred"]) },
    Action { copies: &[(SH, "httpd")], ..action("RunShellUntrusted", Host, &["/tmp/eg/httpd", "-c", "bash -c 'ls > /dev/null; true'; true"]) },
    action("ScheduleCronJobs", Container, &["sh", "-c", "mkdir -p /etc/cron.d; : > /etc/cron.d/eg"]),
    action("SearchPrivateKeysOrPasswords", Host, &["sh", "-c", "find /tmp/eg -name id_rsa"]),
    action("SetSetuidOrSetgidBit", Container, &["sh", "-c", ": > /tmp/eg-suid; chmod u+s /tmp/eg-suid"]),
    Action { copies: &[(PERL, "sha1sum")], ..action("SystemProcsNetworkActivity", Capable, &["/tmp/eg/sha1sum", "-e", CONNECT, "2", ELSEWHERE, "80"]) },
    Action { user: Some("daemon"), copies: &[(TRUE, "login")], ..action("SystemUserInteractive", Host, &["/tmp/eg/login"]) },
    action("UnexpectedUDPTraffic", Capable, &["perl", "-e", CONNECT, "2", ELSEWHERE, "9999"]),
    Action { copies: &[(TRUE, "vipw")], ..action("UserMgmtBinaries", Host, &["/tmp/eg/vipw"]) },
];

/// Connects a socket of this kind to an address and port.
const CONNECT: &str = "use Socket; my ($k, $a, $p) = @ARGV; socket(S, AF_INET, $k, 0); connect(S, pack_sockaddr_in($p, inet_aton($a)))";

/// Listens there and connects to it.
const LISTENED: &str = "use Socket; my ($a, $p) = @ARGV; my $to = pack_sockaddr_in($p, inet_aton($a)); \
    socket(L, AF_INET, 1, 0); bind(L, $to); listen(L, 1); socket(S, AF_INET, 1, 0); connect(S, $to)";

/// Copies itself into memory and starts that.
const FILELESS: &str = "my $name = 'eg'; my $fd = syscall(319, $name, 0); open(my $to, '>&=', $fd); open(my $from, '<', '/bin/true'); \
    binmode $to; binmode $from; my $code = do { local $/; <$from> }; print $to $code; close $from; $to->flush; exec { \"/proc/self/fd/$fd\" } 'eg';";

/// Which of our own rules each action sets off.
const OWN: &[(&str, &str)] = &[
    ("AddingSshKeysToAuthorizedKeys", "Key for SSH logins written"),
    ("ChangeNamespacePrivilegesViaUnshare", "Namespace changed in container"),
    ("ChangeThreadNamespace", "Namespace changed in container"),
    ("ClearLogActivities", "Log file emptied"),
    ("ContactEC2InstanceMetadataServiceFromContainer", "Cloud metadata asked from container"),
    ("CreateFilesBelowDev", "File made below /dev in container"),
    ("CreateHardlinkOverSensitiveFiles", "Link made to a sensitive file"),
    ("CreateSymlinkOverSensitiveFiles", "Link made to a sensitive file"),
    ("DbProgramSpawnedProcess", "Database started a program"),
    ("DebugfsLaunchedInPrivilegedContainer", "Disk tool with system rights in container"),
    ("DeleteOrRenameShellHistory", "Shell history removed"),
    ("DetectReleaseAgentFileContainerEscapes", "Escape through release_agent tried"),
    ("DirectoryTraversalMonitoredFileRead", "Sensitive path opened by way of a parent folder"),
    ("DisallowedSSHConnectionNonStandardPort", "SSH to an unusual port"),
    ("DropAndExecuteNewBinaryInContainer", "Program started that is not of the image in container"),
    ("ExecutionFromDevShm", "Program started from shared memory"),
    ("FilelessExecutionViaMemfdCreate", "Program started from shared memory"),
    ("FindAwsCredentials", "Search for cloud credentials"),
    ("LaunchIngressRemoteFileCopyToolsInContainer", "Copy or download tool started in container"),
    ("LaunchPackageManagementProcessInContainer", "Package manager started in container"),
    ("LaunchRemoteFileCopyToolsInContainer", "Copy or download tool started in container"),
    ("LaunchSuspiciousNetworkToolInContainer", "Scanner or sniffer started"),
    ("LaunchSuspiciousNetworkToolOnHost", "Scanner or sniffer started"),
    ("ModifyShellConfigurationFile", "Start-up file of a shell written"),
    ("MountLaunchedInPrivilegedContainer", "Disk tool with system rights in container"),
    ("NetcatRemoteCodeExecutionInContainer", "Netcat told to run a program in container"),
    ("NonSudoSetuid", "User changed without sudo"),
    ("PacketSocketCreatedInContainer", "Packet socket opened in container"),
    ("PotentialLocalPrivilegeEscalationViaEnvironmentVariablesMisuse", "Loader tuned for a program"),
    ("ProgramRunWithDisallowedHttpProxyEnv", "Proxy given to a download tool"),
    ("PtraceAntiDebugAttempt", "Program keeps debuggers away"),
    ("PtraceAttachedToProcess", "Process changed by another"),
    ("ReadEnvironmentVariableFromProcFiles", "Environment of a process read in container"),
    ("ReadSensitiveFileTrustedAfterStartup", "Service read credentials long after its start"),
    ("ReadSensitiveFileUntrusted", "Sensitive file read by an untrusted program"),
    ("ReadSshInformation", "SSH folder read in container"),
    ("RemoveBulkDataFromDisk", "Disk being wiped"),
    ("RunShellUntrusted", "Shell started by a network service on the host"),
    ("ScheduleCronJobs", "File below a system folder written in container"),
    ("SearchPrivateKeysOrPasswords", "Search for private keys"),
    ("SetSetuidOrSetgidBit", "Setuid or setgid bit set"),
    ("SystemProcsNetworkActivity", "Program of the base system opened a connection"),
    ("SystemUserInteractive", "System account in use by a person"),
    ("UnexpectedUDPTraffic", "Unusual UDP traffic from container"),
    ("UserMgmtBinaries", "Account tool started on the host"),
];

/// Does everything in the table, for our own rules.
pub(crate) fn perform_for_own(sandbox: &Sandbox) -> Vec<Case> {
    let rule_of: BTreeMap<&str, &str> = OWN.iter().copied().collect();
    sandbox.address(Capable, ELSEWHERE);
    sandbox.address(Capable, METADATA);
    ACTIONS.iter().map(|action| done(action, &rule_of, sandbox)).collect()
}

/// Does everything in the table, which must be everything in the list whose rule
/// is in the files that are here.
pub(crate) fn perform(list: &Path, sandbox: &Sandbox) -> Vec<Case> {
    let list: Vec<Map<String, Value>> = serde_json::from_slice(&std::fs::read(list).unwrap()).unwrap();
    let here = rules();
    let of_calls = list.iter().filter(|action| action["kind"] == "syscall");
    let (with, without): (Vec<_>, Vec<_>) =
        of_calls.partition(|action| here.contains(action["rule"].as_str().unwrap()));
    println!("{} actions are of rules in Falco's sandbox file, which is not here", without.len());
    let rule_of: BTreeMap<&str, &str> = with
        .iter()
        .map(|action| {
            (
                action["action"].as_str().unwrap().trim_start_matches("syscall."),
                action["rule"].as_str().unwrap(),
            )
        })
        .collect();
    let named: HashSet<&str> = ACTIONS.iter().map(|action| action.name).collect();
    let missing: Vec<_> = rule_of.keys().filter(|name| !named.contains(*name)).collect();
    assert!(missing.is_empty(), "no such action here: {missing:?}");
    sandbox.address(Capable, ELSEWHERE);
    sandbox.address(Capable, METADATA);
    ACTIONS.iter().map(|action| done(action, &rule_of, sandbox)).collect()
}

/// Does one of them several times more: of what is sampled, some is seen.
pub(crate) fn again(name: &str, sandbox: &Sandbox) {
    for action in ACTIONS.iter().filter(|action| action.name == name) {
        (0..4).for_each(|_| perform_one(action, sandbox));
    }
}

fn done(action: &Action, rule_of: &BTreeMap<&str, &str>, sandbox: &Sandbox) -> Case {
    perform_one(action, sandbox);
    Case { name: action.name.into(), rule: rule_of[action.name].to_owned(), fields: Map::new() }
}

fn perform_one(action: &Action, sandbox: &Sandbox) {
    for (of, name) in action.copies {
        sandbox.copy(of, &format!("/tmp/eg/{name}"));
    }
    let output = sandbox.run(action.place, action.user, action.run);
    let told = String::from_utf8_lossy(&output.stderr);
    if !told.is_empty() {
        println!("{}: {told}", action.name);
    }
}

/// Names of the rules in the official files.
fn rules() -> HashSet<String> {
    let mut names = HashSet::new();
    for file in RULES {
        let text = std::fs::read_to_string(corpus(file).unwrap()).unwrap();
        names.extend(
            text.lines().filter_map(|line| line.strip_prefix("- rule: ")).map(|name| name.trim().to_owned()),
        );
    }
    names
}
