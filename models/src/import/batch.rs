//! Another batch. The shapes at the file's own batch, and the place of the batch in each value, give every
//! shape at the batch asked for; shapes written into the file, as numbers or as chains of operators, are
//! replaced by those, and the graph library's own analysis at the new batch must agree.

use std::collections::HashMap;

use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;

use super::draft::{Draft, integers, label};
use super::shapes::{self, Shapes};
use super::trace::{Place, Trace};
use super::{ImportError, ImportOptions};
use crate::onnx::proto;
use crate::onnx::read::MAX_ELEMENTS;

/// Largest batch.
pub const MAX_BATCH: usize = 4096;

/// The encoder's input as the file states it.
pub(super) struct Input {
    pub(super) name: String,
    /// The batch to analyse at: the file's own, or one.
    batch: usize,
    /// Shape of one sample.
    pub(super) sample: Vec<usize>,
}

/// Reads the only input of `draft`.
pub(super) fn input(draft: &mut Draft, options: &ImportOptions) -> Result<Input, ImportError> {
    if !(1..=MAX_BATCH).contains(&options.batch) {
        return Err(ImportError::Batch { found: options.batch, limit: MAX_BATCH });
    }
    let names = || draft.graph.input.iter().map(|i| i.name.clone()).collect();
    let [info] = draft.graph.input.as_slice() else { return Err(ImportError::Inputs { names: names() }) };
    let name = info.name.clone();
    let kind = info.r#type.as_ref().and_then(|t| t.value.as_ref());
    let tensor = kind.map(|pb::type_proto::Value::TensorType(tensor)| tensor);
    let dims: Vec<Option<usize>> =
        tensor.and_then(|t| t.shape.as_ref()).iter().flat_map(|s| &s.dim).map(extent).collect();
    let found = || dims.iter().map(|d| d.map_or("?".into(), |d| d.to_string())).collect();
    let fault =
        |reason: &str| ImportError::InputShape { input: name.clone(), found: found(), reason: reason.into() };
    if tensor.is_none_or(|t| t.elem_type != DataType::Float as i32) {
        return Err(fault("it is no floating-point tensor; an encoder reads floats"));
    }
    let given = options.input_shape.as_ref();
    let stated = match (dims.split_first(), given) {
        (Some((_, sample)), _) if !sample.is_empty() => sample.to_vec(),
        // Nothing is stated: the caller says it all.
        (None, Some(given)) => vec![None; given.len()],
        _ => return Err(fault("it must be [batch, ...] with at least one axis behind the batch")),
    };
    if given.is_some_and(|given| given.len() != stated.len() || given.is_empty()) {
        return Err(fault("the sample shape asked for has another number of axes"));
    }
    let sample: Option<Vec<usize>> =
        stated.iter().enumerate().map(|(i, &d)| given.and_then(|g| g.get(i).copied()).or(d)).collect();
    let Some(sample) = sample else {
        return Err(fault("some axes are dynamic; state the shape of one sample with `input_shape`"));
    };
    let batch = dims.first().copied().flatten();
    let largest = batch.unwrap_or(1).max(options.batch);
    let values = sample.iter().try_fold(largest, |n, &d| n.checked_mul(d));
    if values.is_none_or(|n| n == 0 || n > MAX_ELEMENTS) {
        return Err(fault("it holds no values or too many at this batch; choose a smaller one"));
    }
    if stated.iter().zip(&sample).any(|(stated, asked)| stated.is_some_and(|d| d != *asked)) {
        let text = format!("the sample shape stated in the file was replaced by {sample:?}");
        draft.note(text);
    }
    Ok(Input { name, batch: batch.unwrap_or(1), sample })
}

fn extent(dim: &pb::tensor_shape_proto::Dimension) -> Option<usize> {
    match dim.value {
        Some(Dim::DimValue(n)) => usize::try_from(n).ok().filter(|&n| n > 0),
        _ => None,
    }
}

/// Fixes the batch of `draft` at `batch`. Gives every shape known at it.
pub(super) fn fix(draft: &mut Draft, input: &Input, batch: usize) -> Result<Shapes, ImportError> {
    let at = |batch: usize| [&[batch], input.sample.as_slice()].concat();
    draft.graph.input = vec![proto::value_info(&input.name, &at(input.batch))];
    let old = shapes::of(&model(draft), "at the file's own batch")?;
    let integers = integers(&draft.graph);
    let mut trace = Trace {
        shapes: &old,
        integers: &integers,
        batch: input.batch,
        places: HashMap::from([(input.name.clone(), Place { axis: 0, pre: 1 })]),
        repeats: vec![],
    };
    for (i, node) in draft.graph.node.iter().enumerate() {
        trace.node(i, node).map_err(|reason| baked(node, &old, reason))?;
    }
    let Trace { places, repeats, .. } = trace;
    let scale = |name: &String| -> Option<Vec<usize>> {
        let mut shape = old.get(name)?.clone();
        if let Some(place) = places.get(name) {
            let extent = shape.get_mut(place.axis)?;
            *extent = (*extent / input.batch).checked_mul(batch)?;
        }
        Some(shape)
    };
    let changed = state_shapes(draft, &scale);
    let mut additions: HashMap<usize, Vec<pb::NodeProto>> = HashMap::new();
    for repeat in &repeats {
        let Some(name) = draft.graph.node.get(repeat.node).and_then(|n| n.input.get(repeat.input)).cloned()
        else {
            continue;
        };
        let Some(mut shape) = old.get(&name).cloned() else { continue };
        if let Some(extent) = shape.get_mut(repeat.axis) {
            *extent = batch;
        }
        let target = draft.integer(&name, &shape.iter().map(|&d| d as i64).collect::<Vec<_>>());
        let expand = draft.operator(&name, "Expand", &[&name, &target], vec![]);
        if let (Some(node), [output]) = (draft.graph.node.get_mut(repeat.node), expand.output.as_slice())
            && let Some(input) = node.input.get_mut(repeat.input)
        {
            input.clone_from(output);
        }
        additions.entry(repeat.node).or_default().push(expand);
    }
    draft.insert(additions);
    draft.graph.input = vec![proto::value_info(&input.name, &at(batch))];
    draft.sweep();
    if batch != input.batch && changed + repeats.len() > 0 {
        draft.note(format!(
            "the batch was changed from {} to {batch}: {changed} reshapes were written anew, {} arrays repeated",
            input.batch,
            repeats.len()
        ));
    }
    let new = shapes::of(&model(draft), "at the batch asked for")?;
    for node in &draft.graph.node {
        let wrong = |o: &&String| {
            places.contains_key(*o) && new.get(*o).is_some_and(|found| scale(o).is_some_and(|s| s != *found))
        };
        if node.output.iter().find(wrong).is_some() {
            return Err(baked(node, &new, "does not follow the batch"));
        }
    }
    let embedding = draft.graph.output.first().map(|o| o.name.clone()).unwrap_or_default();
    if places.get(&embedding) != Some(&Place { axis: 0, pre: 1 }) {
        return Err(ImportError::Embedding {
            shape: new.get(&embedding).cloned().unwrap_or_default(),
            output: embedding,
            reason: "its first axis is not the batch; name another value with `output`".into(),
        });
    }
    Ok(new)
}

fn baked(node: &pb::NodeProto, shapes: &Shapes, reason: &str) -> ImportError {
    let shape = node.output.first().and_then(|o| shapes.get(o)).cloned().unwrap_or_default();
    ImportError::Baked { node: label(node), operator: node.op_type.clone(), shape, reason: reason.into() }
}

/// Writes the shape of every reshape, expansion and resize as numbers. Gives how many differ from what a
/// reshape said by numbers before.
fn state_shapes(draft: &mut Draft, scale: &dyn Fn(&String) -> Option<Vec<usize>>) -> usize {
    let before = integers(&draft.graph);
    let mut changed = 0;
    for at in 0..draft.graph.node.len() {
        let Some(node) = draft.graph.node.get(at) else { continue };
        let slot = match node.op_type.as_str() {
            "Reshape" | "Expand" => 1,
            "Resize" if node.input.get(3).is_some_and(|i| !i.is_empty()) => 3,
            _ => continue,
        };
        let Some(output) = node.output.first().cloned() else { continue };
        let Some(shape) = scale(&output) else { continue };
        // A zero would mean "as before" to a reshape.
        if shape.contains(&0) {
            continue;
        }
        let shape: Vec<i64> = shape.iter().map(|&d| d as i64).collect();
        let stated = node.input.get(slot).and_then(|i| before.get(i));
        if stated == Some(&shape) {
            continue;
        }
        changed += usize::from(stated.is_some());
        let target = draft.integer(&output, &shape);
        if let Some(input) = draft.graph.node.get_mut(at).and_then(|n| n.input.get_mut(slot)) {
            *input = target;
        }
    }
    changed
}

/// The draft as a model.
pub(super) fn model(draft: &Draft) -> pb::ModelProto {
    let mut model = proto::model(draft.graph.clone(), draft.opset, IR_VERSION);
    draft.functions.clone().add_to(&mut model);
    model
}

/// Version of the file format that goes with initializers that are no inputs.
const IR_VERSION: i64 = 8;
