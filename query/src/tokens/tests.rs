use std::os::unix::fs::PermissionsExt;

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_764_000_000, 0).unwrap()
}

fn acme() -> TenantId {
    "acme".parse().unwrap()
}

fn open(file: &Path) -> TokenStore {
    TokenStore::open(Some(file.to_owned())).unwrap()
}

fn principal(store: &TokenStore, token: &str, now: DateTime<Utc>) -> Option<crate::Principal> {
    store.authenticate(token, now).ok().map(crate::identity::Known::principal)
}

#[test]
fn a_token_opens_exactly_what_it_says_until_it_expires() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new/tokens.yaml");
    let expires = now() + TimeDelta::days(1);
    let secret = create(&file, "grafana-acme", Role::Tenant, &[acme()], Some(expires), now()).unwrap();
    let admin = create(&file, "root", Role::Admin, &[], None, now()).unwrap();
    assert!(secret.starts_with("bwk_grafana-acme_") && secret.len() > 64);
    let store = open(&file);
    let principal = self::principal(&store, &secret, now()).unwrap();
    assert_eq!((principal.name(), principal.role()), ("grafana-acme", Role::Tenant));
    assert!(principal.sees(&acme()) && !principal.sees(&TenantId::host()));
    assert!(self::principal(&store, &admin, now()).unwrap().sees(&TenantId::host()));
    assert!(store.authenticate(&secret, expires).is_err());
    assert!(store.still_valid(&principal, now()) && !store.still_valid(&principal, expires));
}

#[test]
fn the_file_holds_no_secret_and_is_its_owners_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.yaml");
    let secret = create(&file, "a", Role::Auditor, &[], None, now()).unwrap();
    let text = fs::read_to_string(&file).unwrap();
    assert!(!text.contains(secret.rsplit_once('_').unwrap().1));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "something is left beside the file");
}

#[test]
fn what_is_not_a_whole_token_opens_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.yaml");
    let secret = create(&file, "a", Role::Admin, &[], None, now()).unwrap();
    let other = create(&file, "b", Role::Admin, &[], None, now()).unwrap();
    let store = open(&file);
    let mixed = format!("bwk_a_{}", other.rsplit_once('_').unwrap().1);
    for wrong in [
        "",
        "bwk_",
        "bwk_a_",
        &secret[..secret.len() - 1],
        &secret.to_uppercase(),
        &format!("{secret}0"),
        &mixed,
    ] {
        assert!(store.authenticate(wrong, now()).is_err(), "{wrong}");
    }
    assert!(TokenStore::open(None).unwrap().authenticate(&secret, now()).is_err());
}

#[test]
fn a_changed_file_is_taken_up_and_a_broken_one_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.yaml");
    let first = create(&file, "first", Role::Admin, &[], None, now()).unwrap();
    let store = open(&file);
    let known = principal(&store, &first, now()).unwrap();
    let look_again = || std::thread::sleep(std::time::Duration::from_millis(260));
    let second = create(&file, "second", Role::Admin, &[], None, now()).unwrap();
    look_again();
    assert!(store.authenticate(&second, now()).is_ok() && store.still_valid(&known, now()));
    fs::write(&file, "tokens: [").unwrap();
    look_again();
    assert!(store.authenticate(&second, now()).is_ok());
    fs::write(&file, "tokens: []").unwrap();
    look_again();
    assert!(store.authenticate(&second, now()).is_err() && !store.still_valid(&known, now()));
}

#[test]
fn a_token_of_some_namespaces_stays_one_of_these() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.yaml");
    let shop = || Namespaces::new(["shop".parse().unwrap(), "shop-*".parse().unwrap()]);
    let made =
        |role, tenants, namespaces| create_limited(&file, "shop", role, (tenants, namespaces), None, now());
    let error = made(Role::Admin, vec![], shop()).unwrap_err().to_string();
    assert!(error.contains("namespaces"), "{error}");
    let secret = made(Role::Tenant, vec![acme()], shop()).unwrap();
    let store = open(&file);
    let principal = self::principal(&store, &secret, now()).unwrap();
    assert_eq!(principal.scope().names(), ["acme/shop", "acme/shop-*"]);
    assert!(store.still_valid(&principal, now()));
    // Whoever was let in with less than the file now says has to log in again, and with more all the more.
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("\"shop\", ", "")).unwrap();
    std::thread::sleep(std::time::Duration::from_millis(260));
    assert!(!store.still_valid(&principal, now()));
    assert_eq!(self::principal(&store, &secret, now()).unwrap().scope().names(), ["acme/shop-*"]);
}

#[test]
fn names_are_given_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("tokens.yaml");
    let expires = now() + TimeDelta::hours(1);
    create(&file, "a", Role::Admin, &[], Some(expires), now()).unwrap();
    let again = create(&file, "a", Role::Admin, &[], None, now()).unwrap_err().to_string();
    assert!(again.contains("name"), "{again}");
    let secret = create(&file, "a", Role::Admin, &[], None, expires).unwrap();
    assert_eq!(list(&file).unwrap().len(), 1);
    assert!(holds(&file, &secret).unwrap() && !holds(&file, "bwk_a_0").unwrap());
    remove(&file, "nobody").unwrap();
    remove(&file, "a").unwrap();
    assert!(list(&file).unwrap().is_empty() && !holds(&file, &secret).unwrap());
    assert!(!holds(Path::new("/nonexistent"), &secret).unwrap());
}

#[test]
fn a_token_that_would_see_nothing_or_too_much_is_refused_by_field() {
    let file = Path::new("/nonexistent/tokens.yaml");
    for (name, role, tenants, field) in [
        ("a b", Role::Admin, vec![], "name"),
        ("a_b", Role::Admin, vec![], "name"),
        ("a", Role::Tenant, vec![], "tenants"),
        ("a", Role::Admin, vec![acme()], "tenants"),
    ] {
        let error = create(file, name, role, tenants, None, now()).unwrap_err().to_string();
        assert!(error.contains(field), "{error}");
    }
}

#[test]
fn a_wrong_file_names_line_and_field() {
    let entry = "tokens:\n  - name: a\n    role: tenant\n    tenants: [acme]\n    hash: \"sha256:HASH\"\n    created: 2026-01-01T00:00:00Z\n"
        .replace("HASH", &"0".repeat(64));
    assert_eq!(parse("t.yaml", &entry).unwrap().len(), 1);
    for (from, to, parts) in [
        ("sha256:", "md5:", ["t.yaml:5", "hash"]),
        ("role: tenant", "role: king", ["t.yaml:3", "king"]),
        ("[acme]", "[\"../x\"]", ["t.yaml:4", "tenants"]),
        ("[acme]", "[]", ["t.yaml:2", "tenants"]),
        ("[acme]", "[acme]\n    namespaces: []", ["t.yaml:5", "namespaces"]),
        ("[acme]", "[acme]\n    namespaces: [Shop]", ["t.yaml:5", "namespaces"]),
        ("role: tenant", "role: admin\n    namespaces: [shop]", ["t.yaml:4", "namespaces"]),
        ("created: 2026", "created: yesterday", ["t.yaml:6", "created"]),
        ("created", "creatd", ["t.yaml:", "creatd"]),
    ] {
        let error = parse("t.yaml", &entry.replace(from, to)).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_read(
        names in prop::collection::btree_set("[A-Za-z0-9.-]{1,63}", 0..4), tenants in prop::collection::btree_set("[a-z0-9][a-z0-9._-]{0,20}", 1..3),
        namespaces in prop::collection::btree_set("[a-z0-9]{1,9}[*]?", 0..3),
        hash: [u8; 32], micros in 0i64..4_000_000_000_000_000, expires: bool,
    ) {
        let time = DateTime::from_timestamp_micros(micros).unwrap();
        let tenants: BTreeSet<TenantId> = tenants.iter().map(|name| name.parse().unwrap()).collect();
        let token = |name: &String| Token {
            name: name.clone(), role: Role::Tenant, tenants: tenants.clone(),
            namespaces: Namespaces::new(namespaces.iter().map(|name| name.parse().unwrap())), hash, created: time, expires: expires.then_some(time),
        };
        let tokens: Vec<Token> = names.iter().map(token).collect();
        prop_assert_eq!(parse("t", &print(&tokens)).unwrap(), tokens);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,200}") {
        let _ = (name_in(&text), parse("t", &text));
    }
}
