use std::collections::BTreeSet;
use std::process::Command;

use super::*;

/// What the parser reads twice, or more often, at every level because of a mistake inside:
/// what stands before, inside and behind.
const NESTED: &[(&str, &str, &str)] = &[
    ("ARRAY[", "1 ) (", "]"),
    ("CAST(", "1 ???", " AS int)"),
    ("position(", "a ???", " IN b)"),
    ("substring(", "a ???", " FROM 1)"),
];

fn tries(sql: &str) -> (usize, bool) {
    let dialect = Bounded::of(sql);
    let _ = Parser::new(&dialect)
        .with_recursion_limit(50)
        .try_with_sql(sql)
        .and_then(|mut parser| parser.parse_statements());
    (TRIES + sql.len() - dialect.left.get(), dialect.is_spent.get())
}

#[test]
fn what_doubles_at_every_level_ends() {
    for (before, inside, behind) in NESTED {
        for levels in [16, 24, 49] {
            let sql = format!("SELECT {}{inside}{}", before.repeat(levels), behind.repeat(levels));
            assert!(tries(&sql).1, "{sql}");
            assert!(crate::gate::admit(crate::Role::Admin, &sql).is_err(), "{sql}");
        }
    }
    let spent = format!("SELECT {}a ???{}", "position(".repeat(16), " IN b)".repeat(16));
    let error = crate::gate::admit(crate::Role::Admin, &spent).unwrap_err();
    assert_eq!(error.code(), Code::TooLarge);
    assert_eq!(check(&spent).unwrap_err().code(), Code::TooLarge);
    assert!(statements(&spent).unwrap_err().to_string().contains("nested too deep to be read"));
}

#[test]
fn what_people_write_is_far_from_the_end() {
    let list: Vec<String> = (0..50_000).map(|number| number.to_string()).collect();
    let nested = format!("SELECT {}'a'{}", "lower(".repeat(40), ")".repeat(40));
    for sql in [nested, format!("SELECT 1 WHERE 1 IN ({})", list.join(", "))] {
        let (tries, is_spent) = tries(&sql);
        assert!(!is_spent && tries < 1_000 + sql.len(), "{tries} of {}", sql.len());
        assert!(crate::gate::admit(crate::Role::Tenant, &sql).is_ok());
    }
}

/// Goal: a newer parser's dialect is not followed by half. Method: every function that
/// its source defines stands in ours.
#[test]
fn the_dialect_is_postgres_in_every_part() {
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml");
    let cargo = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--offline", "--manifest-path", manifest])
        .output()
        .unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&cargo.stdout).unwrap();
    let package = |package: &&serde_json::Value| package["name"] == "sqlparser";
    let found: Vec<_> = metadata["packages"].as_array().unwrap().iter().filter(package).collect();
    assert_eq!(found.len(), 1, "one parser, whose source can be looked at");
    let folder = std::path::Path::new(found[0]["manifest_path"].as_str().unwrap()).parent().unwrap();
    let theirs = std::fs::read_to_string(folder.join("src/dialect/postgresql.rs")).unwrap();
    let defined = |line: &str| {
        line.trim().strip_prefix("fn ").and_then(|rest| rest.split('(').next()).map(str::to_owned)
    };
    let theirs: BTreeSet<String> = theirs.lines().filter_map(defined).collect();
    assert!(theirs.len() > 30);
    let ours = include_str!("../reading.rs");
    let missing: Vec<_> = theirs.iter().filter(|name| !ours.contains(&format!(" {name}("))).collect();
    assert!(missing.is_empty(), "{missing:?}");
}
