use bailiwick_proto::TenantId;
use prometheus_client::registry::Registry;

use super::*;
use crate::Role;

fn accounts(config: &Config) -> Arc<Accounts> {
    let metrics = Metrics::register(&mut Registry::default());
    let base = RuntimeEnvBuilder::new().build_arc().unwrap();
    // Without its watcher, so that a test tells the time.
    Arc::new(Accounts {
        base,
        memory: Memory::new(config, 4),
        spill_bytes: config.spill_bytes,
        spill_of_one: config.tenant_spill_bytes,
        metrics,
        of: Mutex::default(),
    })
}

fn spin() {
    std::hint::black_box((0..20_000_000u64).fold(0, |sum: u64, number| std::hint::black_box(sum ^ number)));
}

#[test]
fn a_tenants_people_share_an_account_and_operators_have_one_of_their_own() {
    let ids = ["acme", "globex"].map(|name| name.parse::<TenantId>().unwrap());
    let tenant = |name: &str, tenants: &[TenantId]| Principal::new(name, Role::Tenant, tenants.to_vec());
    let shop = crate::Namespaces::new(["shop".parse().unwrap()]).unwrap();
    let names = [
        tenant("a", &ids[..1]),
        tenant("b", &ids[..1]).limited_to(shop),
        tenant("c", &ids),
        tenant("d", &[]),
        Principal::operator(),
        Principal::new("e", Role::Auditor, []),
    ]
    .map(|principal| name_of(&principal));
    assert_eq!(names, ["acme", "acme", "acme+globex", "", "_cluster", "_cluster"]);
}

/// Goal: who computes much gives way, whoever computes little does not, and
/// both are as before after a while. Method: real threads that really compute,
/// and a clock that the test moves.
#[tokio::test]
async fn who_computes_much_gives_way_until_a_while_after() {
    let accounts = accounts(&Config::default());
    let (acme, globex) = (accounts.of("acme").unwrap(), accounts.of("globex").unwrap());
    let (busy, quiet) = (acme.lane().unwrap(), globex.lane().unwrap());
    let now = Instant::now();
    while !busy.gives_way() {
        busy.handle().spawn_blocking(spin).await.unwrap();
        accounts.look(now);
    }
    assert!(!quiet.gives_way() && accounts.metrics.slowed.get() == 1);
    assert!(Arc::ptr_eq(&busy, &acme.lane().unwrap()), "more queries are no way around it");
    let later = now + Duration::from_secs(11);
    accounts.look(later);
    let next = acme.lane().unwrap();
    assert!(!next.gives_way() && busy.gives_way());
    // What the old threads still compute counts.
    while !next.gives_way() {
        busy.handle().spawn_blocking(spin).await.unwrap();
        accounts.look(later);
    }
}

#[tokio::test]
async fn an_account_that_asks_nothing_is_let_go_of_and_one_that_works_is_not() {
    let accounts = accounts(&Config::default());
    let working = accounts.of("acme").unwrap().lane().unwrap();
    drop(accounts.of("globex").unwrap().lane().unwrap());
    let after = |seconds| Instant::now() + Duration::from_secs(seconds);
    accounts.look(after(6));
    let has_lane =
        |name: &str| accounts.all().get(name).is_some_and(|account| account.state().lane.is_some());
    assert!(has_lane("acme") && !has_lane("globex") && accounts.all().len() == 2);
    accounts.look(after(60));
    assert_eq!(accounts.all().keys().collect::<Vec<_>>(), ["acme"]);
    drop(working);
    accounts.look(after(60));
    accounts.look(after(120));
    assert!(accounts.all().is_empty());
}

#[test]
fn what_one_account_has_written_to_disk_the_others_cannot() {
    use std::io::Write;
    let config = Config { spill_bytes: 10_000, tenant_spill_bytes: 8_000, ..Config::default() };
    let accounts = accounts(&config);
    let disk = |name| Arc::clone(&accounts.of(name).unwrap().environment().disk_manager);
    let (acme, globex) = (disk("acme"), disk("globex"));
    let file = acme.create_tmp_file("test").unwrap();
    let mut out = file.open_writer().unwrap();
    out.write_all(&[0; 7_000]).unwrap();
    accounts.of("globex").unwrap();
    assert_eq!((acme.max_temp_directory_size(), globex.max_temp_directory_size()), (8_000, 3_000));
    drop((out, file));
    accounts.of("globex").unwrap();
    assert_eq!(globex.max_temp_directory_size(), 8_000);
}
