//! The catalogs agree with the tables' definitions.

use super::*;

#[test]
fn an_object_id_names_one_table() {
    for relation in Relation::all() {
        assert_eq!(relation_of_oid(i64::from(oid_of(relation))), Some(relation));
    }
    assert_eq!(relation_of_oid(i64::from(FIRST_TABLE_OID) - 1), None);
    assert_eq!(relation_of_oid(i64::MAX), None);
}
