//! The catalogs agree with the tables' definitions.

use super::*;

#[test]
fn an_object_id_names_one_table() {
    for table in Table::ALL {
        assert_eq!(table_of_oid(i64::from(oid_of(table))), Some(table));
    }
    assert_eq!(table_of_oid(i64::from(FIRST_TABLE_OID) - 1), None);
    assert_eq!(table_of_oid(i64::MAX), None);
}
