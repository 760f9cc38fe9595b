use super::*;
use bailiwick_proto::{Kind, Table};

fn access(source: Source, name: &str, arg: Option<&str>) -> Lookup {
    lookup(source, &FieldRef { name: name.to_owned(), arg: arg.map(str::to_owned), at: 0 })
}

/// Every column that a field reads is one of its table's, of the right kind.
#[test]
fn fields_read_columns_that_exist() {
    for table in [Table::Syscalls, Table::ApiAccess] {
        for column in table.columns() {
            let source = if table == Table::Syscalls { Source::Syscall } else { Source::K8sAudit };
            let field = column.name.replacen('_', ".", 1);
            let Lookup::Filled(access) = access(source, &field, None) else { continue };
            let expected = match column.kind {
                Kind::Text if matches!(access, Access::Ip(_)) => Type::Ip,
                Kind::Int => Type::Int,
                Kind::Bool => Type::Bool,
                _ => continue,
            };
            assert_eq!(access.value_type(), expected, "{field}");
        }
    }
}

#[test]
fn a_field_is_filled_unfilled_or_unknown() {
    let at = |name, arg| access(Source::Syscall, name, arg);
    assert_eq!(at("proc.aname", Some("2")), Lookup::Filled(Access::Ancestor(1, Part::Name)));
    assert_eq!(at("proc.aname", None), Lookup::Filled(Access::AnyAncestor(Part::Name)));
    assert_eq!(at("evt.arg.flags", None), at("evt.arg", Some("flags")));
    assert_eq!(at("fd.sip.name", None), Lookup::Unfilled);
    assert_eq!(at("fd.spi", None), Lookup::Unknown);
    assert_eq!(at("ka.verb", None), Lookup::Unknown);
    assert!(matches!(at("proc.aname", Some("x")), Lookup::BadArgument(_)));
    assert!(matches!(at("proc.name", Some("x")), Lookup::BadArgument(_)));
    assert_eq!(at("fd.spi", Some("x")), Lookup::Unknown);
    assert_eq!(at("thread.cpu.user", None), Lookup::Unfilled);
}
