//! `sum()` of whole numbers that is right or refused.
//!
//! The engine adds in 64 bits and goes on at the other end of the range where they do
//! not suffice. A total of bytes or of prices that is wrong in silence is worse than
//! none, so the sum is kept in 128 bits, which no number of rows fills, and its end is
//! looked at once:
//!
//! ```text
//!   bigint ─▶ numeric(38, 0) ─▶ the engine's sum() of numerics ─▶ a bigint again, or 22003
//! ```

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, BooleanArray, Decimal128Array, PrimitiveArray};
use datafusion::arrow::datatypes::{
    ArrowPrimitiveType, DECIMAL128_MAX_PRECISION, DataType, Decimal128Type, Field, FieldRef, Int64Type,
    UInt64Type,
};
use datafusion::arrow::error::ArrowError;
use datafusion::common::ScalarValue;
use datafusion::error::Result;
use datafusion::functions_aggregate::sum::sum_udaf;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{
    Accumulator, AggregateUDF, AggregateUDFImpl, Documentation, EmitTo, GroupsAccumulator, ReversedUDAF,
    SetMonotonicity, Signature,
};

/// Wide enough for every sum of 64-bit numbers.
const WIDE: DataType = DataType::Decimal128(DECIMAL128_MAX_PRECISION, 0);

/// Takes the place of the engine's.
pub(crate) fn function() -> AggregateUDF {
    AggregateUDF::new_from_impl(ExactSum { inner: sum_udaf() })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct ExactSum {
    /// The engine's.
    inner: Arc<AggregateUDF>,
}

/// Adds numerics, and is told and tells whole numbers.
struct Narrowed<A: ?Sized> {
    /// `Int64` or `UInt64`.
    kind: DataType,
    wide: Box<A>,
}

// === impl ExactSum ===

impl AggregateUDFImpl for ExactSum {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match narrow(args.return_type()) {
            Some(kind) => Ok(Box::new(Narrowed { kind, wide: self.inner.accumulator(widened(&args))? })),
            None => self.inner.accumulator(args),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let return_field = match narrow(args.return_type()) {
            Some(_) => wide_field(&args.return_field),
            None => args.return_field,
        };
        self.inner.state_fields(StateFieldsArgs { return_field, ..args })
    }

    fn groups_accumulator_supported(&self, args: AccumulatorArgs<'_>) -> bool {
        self.inner.groups_accumulator_supported(args)
    }

    fn create_groups_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn GroupsAccumulator>> {
        match narrow(args.return_type()) {
            Some(kind) => {
                let wide = self.inner.create_groups_accumulator(widened(&args))?;
                Ok(Box::new(Narrowed { kind, wide }))
            }
            None => self.inner.create_groups_accumulator(args),
        }
    }

    fn create_sliding_accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        match narrow(args.return_type()) {
            // Of distinct numbers the engine can move a window over 64 bits only.
            Some(kind) if !args.is_distinct => {
                let wide = self.inner.create_sliding_accumulator(widened(&args))?;
                Ok(Box::new(Narrowed { kind, wide }))
            }
            _ => self.inner.create_sliding_accumulator(args),
        }
    }

    fn reverse_expr(&self) -> ReversedUDAF {
        ReversedUDAF::Identical
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        AggregateOrderSensitivity::Insensitive
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }

    fn set_monotonicity(&self, kind: &DataType) -> SetMonotonicity {
        self.inner.inner().set_monotonicity(kind)
    }
}

/// The type of a sum that 64 bits may not suffice for.
fn narrow(kind: &DataType) -> Option<DataType> {
    matches!(kind, DataType::Int64 | DataType::UInt64).then(|| kind.clone())
}

fn widened<'a>(args: &AccumulatorArgs<'a>) -> AccumulatorArgs<'a> {
    AccumulatorArgs { return_field: wide_field(&args.return_field), ..args.clone() }
}

fn wide_field(field: &Field) -> FieldRef {
    Arc::new(field.clone().with_data_type(WIDE))
}

// === impl Narrowed ===

impl<A: ?Sized> Narrowed<A> {
    fn wide_values(&self, values: &[ArrayRef]) -> Vec<ArrayRef> {
        values.iter().map(|array| widen(array, &self.kind)).collect()
    }
}

impl<A: ?Sized> std::fmt::Debug for Narrowed<A> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Narrowed").field("kind", &self.kind).finish_non_exhaustive()
    }
}

impl Accumulator for Narrowed<dyn Accumulator> {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.wide.update_batch(&self.wide_values(values))
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let sum = self.wide.evaluate()?.to_array()?;
        ScalarValue::try_from_array(&narrowed(&sum, &self.kind)?, 0)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.wide.size()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        self.wide.state()
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        self.wide.merge_batch(states)
    }

    fn retract_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        self.wide.retract_batch(&self.wide_values(values))
    }

    fn supports_retract_batch(&self) -> bool {
        self.wide.supports_retract_batch()
    }
}

impl GroupsAccumulator for Narrowed<dyn GroupsAccumulator> {
    fn update_batch(
        &mut self,
        values: &[ArrayRef],
        group_indices: &[usize],
        filter: Option<&BooleanArray>,
        groups: usize,
    ) -> Result<()> {
        self.wide.update_batch(&self.wide_values(values), group_indices, filter, groups)
    }

    fn evaluate(&mut self, emit_to: EmitTo) -> Result<ArrayRef> {
        Ok(narrowed(&self.wide.evaluate(emit_to)?, &self.kind)?)
    }

    fn state(&mut self, emit_to: EmitTo) -> Result<Vec<ArrayRef>> {
        self.wide.state(emit_to)
    }

    fn merge_batch(&mut self, states: &[ArrayRef], group_indices: &[usize], groups: usize) -> Result<()> {
        self.wide.merge_batch(states, group_indices, groups)
    }

    fn convert_to_state(&self, values: &[ArrayRef], filter: Option<&BooleanArray>) -> Result<Vec<ArrayRef>> {
        self.wide.convert_to_state(&self.wide_values(values), filter)
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.wide.size()
    }
}

fn widen(array: &ArrayRef, kind: &DataType) -> ArrayRef {
    let wide: Decimal128Array = match kind {
        DataType::UInt64 => array.as_primitive::<UInt64Type>().unary(i128::from),
        _ => array.as_primitive::<Int64Type>().unary(i128::from),
    };
    Arc::new(wide.with_data_type(WIDE))
}

fn narrowed(sums: &ArrayRef, kind: &DataType) -> Result<ArrayRef, ArrowError> {
    match kind {
        DataType::UInt64 => within::<UInt64Type>(sums),
        _ => within::<Int64Type>(sums),
    }
}

fn within<T>(sums: &ArrayRef) -> Result<ArrayRef, ArrowError>
where
    T: ArrowPrimitiveType,
    T::Native: TryFrom<i128>,
{
    let whole: PrimitiveArray<T> = sums.as_primitive::<Decimal128Type>().try_unary(|sum| {
        let too_large = || format!("a sum is {sum}, which a bigint does not hold; cast to numeric first");
        T::Native::try_from(sum).map_err(|_| ArrowError::ArithmeticOverflow(too_large()))
    })?;
    Ok(Arc::new(whole))
}
