//! Refuses types without an end.
//!
//! A struct of two structs of two structs … has a type of 2ⁿ parts, written with n
//! words, and whoever compares, hashes or prints such a type walks all of them.

use datafusion::arrow::datatypes::DataType;
use datafusion::common::resources_datafusion_err;
use datafusion::error::Result;

/// Parts of one column's type. The widest of the tables has a few.
const MAX_PARTS: usize = 1_000;

/// Whether a type is one to work with.
pub(super) fn check(kind: &DataType) -> Result<()> {
    match fits(kind, &mut { MAX_PARTS }) {
        true => Ok(()),
        false => {
            Err(resources_datafusion_err!("the type of a column would have more than {MAX_PARTS} parts"))
        }
    }
}

/// Whether it has no more parts than are left; looks no further.
fn fits(kind: &DataType, left: &mut usize) -> bool {
    if *left == 0 {
        return false;
    }
    *left -= 1;
    match kind {
        DataType::Struct(fields) => fields.iter().all(|field| fits(field.data_type(), left)),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => fits(item.data_type(), left),
        _ => true,
    }
}
