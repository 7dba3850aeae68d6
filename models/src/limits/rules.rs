//! The bound of every operator that is read, by family. What is not listed here is refused: subgraphs
//! (`If`, `Loop`, `Scan`), randomness, signal transforms, trees, detections.

use super::site::Site;
use super::value::{Numbers, Value, broadcast};
use super::{LimitError, products, shapes, windows};

/// What a node makes, from above.
#[derive(Debug)]
pub(super) struct Bounds {
    /// One for each output; fewer where the rest are no larger than the first.
    pub values: Vec<Value>,
    /// Multiplications and additions, where more than one an element.
    pub work: usize,
    /// Elements read when every position's patch is written out.
    pub patches: usize,
}

impl From<Value> for Bounds {
    fn from(value: Value) -> Self {
        Self { values: vec![value], work: 0, patches: 0 }
    }
}

/// Bounds the outputs of one node.
pub(super) fn outputs(site: &Site<'_>) -> Result<Bounds, LimitError> {
    if site.is_call() {
        return call(site);
    }
    Ok(match site.operator() {
        "Abs"
        | "Acos"
        | "Acosh"
        | "Asin"
        | "Asinh"
        | "Atan"
        | "Atanh"
        | "BitwiseNot"
        | "Ceil"
        | "Celu"
        | "Clip"
        | "Cos"
        | "Cosh"
        | "CumSum"
        | "Dropout"
        | "Elu"
        | "Erf"
        | "Exp"
        | "Floor"
        | "Gelu"
        | "GroupNormalization"
        | "HardSigmoid"
        | "HardSwish"
        | "Hardmax"
        | "InstanceNormalization"
        | "IsInf"
        | "IsNaN"
        | "LRN"
        | "LeakyRelu"
        | "Log"
        | "LogSoftmax"
        | "LpNormalization"
        | "MeanVarianceNormalization"
        | "Mish"
        | "Neg"
        | "Not"
        | "Reciprocal"
        | "Relu"
        | "Round"
        | "Selu"
        | "Shrink"
        | "Sigmoid"
        | "Sign"
        | "Sin"
        | "Sinh"
        | "Softmax"
        | "Softplus"
        | "Softsign"
        | "Sqrt"
        | "Tan"
        | "Tanh"
        | "ThresholdedRelu"
        | "Trilu"
        | "BatchNormalization"
        | "ScatterElements"
        | "ScatterND"
        | "DequantizeLinear"
        | "QuantizeLinear" => like(site.input(0)?).into(),
        "LayerNormalization" => layer_norm(site)?.into(),
        "Identity" | "Cast" | "CastLike" => kept(site.input(0)?).into(),
        "Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" | "Mean" | "Sum" | "Pow" | "Mod" | "PRelu" | "And"
        | "Or" | "Xor" | "Equal" | "Greater" | "GreaterOrEqual" | "Less" | "LessOrEqual" | "BitShift"
        | "BitwiseAnd" | "BitwiseOr" | "BitwiseXor" | "Where" => pointwise(site)?.into(),
        "Constant" => constant(site)?.into(),
        "Shape" => shape(site)?.into(),
        "Size" => match &site.input(0)?.shape {
            Some(shape) => Value::of_ints(vec![count(shape)], vec![]).into(),
            None => Value::of_shape(vec![]).into(),
        },
        "ConstantOfShape" => shapes::constant_of_shape(site)?.into(),
        "Expand" => shapes::expand(site)?.into(),
        "Tile" => shapes::tile(site)?.into(),
        "Range" => shapes::range(site)?.into(),
        "OneHot" => shapes::one_hot(site)?.into(),
        "Reshape" => shapes::reshape(site)?.into(),
        "Flatten" => shapes::flatten(site)?.into(),
        "Squeeze" => shapes::squeeze(site)?.into(),
        "Unsqueeze" => shapes::unsqueeze(site)?.into(),
        "Transpose" => shapes::transpose(site)?.into(),
        "Concat" => shapes::concat(site)?.into(),
        "Split" => shapes::split(site)?,
        "Slice" => shapes::slice(site)?.into(),
        "Gather" => shapes::gather(site)?.into(),
        "GatherElements" => like(site.input(1)?).into(),
        "GatherND" => shapes::gather_nd(site)?.into(),
        "Pad" => windows::pad(site)?.into(),
        "DepthToSpace" | "SpaceToDepth" => windows::block(site)?.into(),
        "Resize" | "Upsample" => windows::resize(site)?.into(),
        "Conv" => windows::convolution(site)?,
        "ConvTranspose" => windows::transposed_convolution(site)?,
        "AveragePool" | "MaxPool" => windows::pool(site)?,
        "GlobalAveragePool" | "GlobalMaxPool" | "GlobalLpPool" => windows::global_pool(site)?.into(),
        "MatMul" => products::matmul(site)?,
        "Gemm" => products::gemm(site)?,
        "Einsum" => products::einsum(site)?,
        "RNN" | "GRU" | "LSTM" => products::recurrent(site)?,
        "ArgMax" | "ArgMin" => {
            shapes::reduce(site, site.attribute("axis").map(|a| vec![a.i]).or(Some(vec![0])))?.into()
        }
        name if name.starts_with("Reduce") => {
            let axes = match site.ints("axes") {
                Some(axes) => Some(axes.to_vec()),
                None => site.constant(1, "the reduced axes")?.map(<[i64]>::to_vec),
            };
            shapes::reduce(site, axes)?.into()
        }
        "TopK" | "Compress" => Value::unshaped(site.input(0)?.elements).into(),
        _ => return Err(site.unknown()),
    })
}

/// A fused call states its shapes itself; it is loaded by what it states.
fn call(site: &Site<'_>) -> Result<Bounds, LimitError> {
    let call = site.call()?;
    let values = call.outputs().into_iter().map(Value::of_shape).collect();
    Ok(Bounds { values, work: usize::try_from(call.multiply_adds()).unwrap_or(usize::MAX), patches: 0 })
}

/// The bound of `value`, without its numbers.
pub(super) fn like(value: &Value) -> Value {
    Value { elements: value.elements, shape: value.shape.clone(), numbers: None, constant: false }
}

/// With an axis out of range tract's analysis does not end, so such a norm is refused here.
fn layer_norm(site: &Site<'_>) -> Result<Value, LimitError> {
    let rank = i64::try_from(site.shape(0)?.len()).unwrap_or(i64::MAX);
    let axis = site.int("axis", -1);
    if axis >= rank || axis < -rank {
        return Err(site.operand("it normalises an axis that its operand does not have"));
    }
    Ok(like(site.input(0)?))
}

/// A value handed on, its integers too.
fn kept(value: &Value) -> Value {
    let ints = value.ints().map(|ints| Numbers::Ints(ints.to_vec()));
    like(value).with_numbers(ints)
}

/// Elements of a shape as an integer; a product too large saturates and is refused where it is used.
fn count(shape: &[usize]) -> i64 {
    let elements = shape.iter().fold(1usize, |n, &d| n.saturating_mul(d));
    i64::try_from(elements).unwrap_or(i64::MAX)
}

fn pointwise(site: &Site<'_>) -> Result<Value, LimitError> {
    site.input(0)?;
    // tract keeps extents that do not fit each other as an expression, which grows from node to node.
    let value =
        broadcast(site.all()).ok_or_else(|| site.operand("its operands cannot be stretched to one shape"))?;
    let numbers = folded(site);
    Ok(value.with_numbers(numbers.map(Numbers::Ints)))
}

/// Integer arithmetic on shapes, as exporters write it for a batch that was symbolic.
fn folded(site: &Site<'_>) -> Option<Vec<i64>> {
    let operands: Vec<&[i64]> = site.all().map(Value::ints).collect::<Option<_>>()?;
    let length = operands.iter().map(|ints| ints.len()).max()?;
    if operands.iter().any(|ints| ints.len() != length && ints.len() != 1) {
        return None;
    }
    let at = |operand: usize, i: usize| {
        let ints = operands.get(operand)?;
        ints.get(if ints.len() == 1 { 0 } else { i }).copied()
    };
    (0..length)
        .map(|i| {
            let (a, b) = (at(0, i)?, at(1, i)?);
            match site.operator() {
                "Add" => a.checked_add(b),
                "Sub" => a.checked_sub(b),
                "Mul" => a.checked_mul(b),
                "Div" => a.checked_div(b),
                "Max" if operands.len() == 2 => Some(a.max(b)),
                "Min" if operands.len() == 2 => Some(a.min(b)),
                "Mod" => a.checked_rem_euclid(b),
                "Equal" => Some(i64::from(a == b)),
                "Greater" => Some(i64::from(a > b)),
                "Less" => Some(i64::from(a < b)),
                "Where" => Some(if a != 0 { b } else { at(2, i)? }),
                _ => None,
            }
        })
        .collect()
}

fn constant(site: &Site<'_>) -> Result<Value, LimitError> {
    if let Some(tensor) = site.attribute("value").and_then(|a| a.t.as_ref()) {
        return Ok(Value::of_tensor(tensor));
    }
    if let Some(int) = site.attribute("value_int") {
        return Ok(Value::of_ints(vec![int.i], vec![]));
    }
    if let Some(ints) = site.ints("value_ints") {
        return Ok(Value::of_ints(ints.to_vec(), vec![ints.len()]));
    }
    if let Some(float) = site.attribute("value_float") {
        return Ok(Value::of_shape(vec![]).with_numbers(Some(Numbers::Floats(vec![float.f]))));
    }
    if let Some(floats) = site.attribute("value_floats") {
        return Ok(Value::of_shape(vec![floats.floats.len()]));
    }
    Err(site.operand("a constant without a dense value"))
}

fn shape(site: &Site<'_>) -> Result<Value, LimitError> {
    let shape = site.shape(0)?;
    let rank = shape.len() as i64;
    let place = |value: i64| {
        let from_start = if value < 0 { value.saturating_add(rank) } else { value };
        usize::try_from(from_start.clamp(0, rank)).unwrap_or(0)
    };
    let (start, end) = (place(site.int("start", 0)), place(site.int("end", rank)));
    let ints: Vec<i64> =
        shape.get(start..end).unwrap_or(&[]).iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX)).collect();
    let length = ints.len();
    Ok(Value::of_ints(ints, vec![length]))
}
