//! Batch norm in the form asked for: folded into the layer before it, by fixed statistics with a trained
//! scale and shift, or by the statistics of the batch (Ioffe & Szegedy 2015, algorithm 1).

use std::collections::{BTreeMap, HashMap};

use ndarray::ArrayD;
use tract_onnx::pb;

use tract_onnx::prelude::TractResult;

use super::draft::{Draft, attribute, constant};
use super::fold::{self, Folded};
use super::shapes::Shapes;
use super::weights::{Found, Origin};
use super::{ImportError, NormForm};
use crate::architecture::BATCH_NORM_EPSILON;
use crate::fused::{self, Call, Clip};
use crate::onnx::proto;
use crate::tensors::Tensors;

/// The four arrays of a batch norm, its input, and its epsilon.
pub(super) struct BatchNorm {
    pub(super) at: usize,
    pub(super) x: String,
    /// Names of scale, shift, mean and variance.
    pub(super) names: [String; 4],
    /// Their values, one a channel.
    pub(super) values: [Vec<f32>; 4],
    pub(super) epsilon: f32,
}

/// What became of the batch norms.
pub(super) struct Normed {
    /// Running statistics that are state.
    pub(super) statistics: Tensors,
    /// Norms folded away.
    pub(super) folded: Vec<Folded>,
}

/// Rewrites every batch norm of `draft`.
///
/// # Errors
/// When a norm's shape is not known where the statistics of the batch are asked for.
pub(super) fn rewrite(
    draft: &mut Draft,
    form: NormForm,
    shapes: &Shapes,
    weights: &mut Vec<Found>,
    origins: &mut BTreeMap<String, Origin>,
) -> Result<Normed, ImportError> {
    let mut normed = Normed { statistics: Tensors::new(), folded: vec![] };
    let norms = read(draft);
    if norms.is_empty() {
        note_none(draft);
        return Ok(normed);
    }
    let total = norms.len();
    let mut rest = norms;
    if form == NormForm::Folded {
        rest = fold::all(draft, rest, weights, origins, &mut normed.folded);
        draft.note(format!(
            "{} of {total} batch norms were folded into the layer before them",
            normed.folded.len()
        ));
    }
    if rest.is_empty() {
        draft.sweep();
        return Ok(normed);
    }
    let by_batch = form == NormForm::Statistics;
    let what =
        if by_batch { "the statistics of the batch" } else { "their stored statistics, which stay fixed" };
    draft.note(format!("{} batch norms normalise by {what}", rest.len()));
    let mut additions = HashMap::new();
    for norm in &rest {
        let nodes = if by_batch {
            let shape = shapes.get(&norm.x).cloned().unwrap_or_default();
            let clip = take_clip(draft, norm);
            by_statistics(draft, norm, &shape, clip, &mut normed.statistics, origins).map_err(|error| {
                let reason = format!("batch norm `{}`: {error:#}", layer(norm));
                ImportError::Shapes { stage: "with the imported form of its norms", reason }
            })?
        } else {
            by_fixed(draft, norm, shapes.get(&norm.x).map_or(4, Vec::len).max(2))
        };
        additions.insert(norm.at, nodes);
    }
    replace(draft, additions);
    draft.sweep();
    Ok(normed)
}

fn channels(norm: &BatchNorm) -> usize {
    norm.values.first().map_or(1, Vec::len).max(1)
}

/// Puts lists of nodes, the last of which makes what the replaced node made, in place of nodes.
fn replace(draft: &mut Draft, mut additions: HashMap<usize, Vec<pb::NodeProto>>) {
    let old = std::mem::take(&mut draft.graph.node);
    for (i, node) in old.into_iter().enumerate() {
        let Some(mut nodes) = additions.remove(&i) else {
            draft.graph.node.push(node);
            continue;
        };
        if let Some(last) = nodes.last_mut() {
            last.output = node.output;
        }
        draft.graph.node.append(&mut nodes);
    }
}

/// The batch norms whose arrays are stored and fit each other.
fn read(draft: &Draft) -> Vec<BatchNorm> {
    let stored: HashMap<&String, &pb::TensorProto> =
        draft.graph.initializer.iter().map(|t| (&t.name, t)).collect();
    let norm = |(at, node): (usize, &pb::NodeProto)| {
        let [x, rest @ ..] = node.input.as_slice() else { return None };
        let [scale, shift, mean, variance] = rest else { return None };
        let names = [scale, shift, mean, variance];
        let [Some(a), Some(b), Some(c), Some(d)] = names.map(|name| onnx_values(stored.get(name).copied()?))
        else {
            return None;
        };
        let values = [a, b, c, d];
        let channels = values.iter().map(Vec::len).max()?;
        let epsilon = attribute(node, "epsilon").map_or(BATCH_NORM_EPSILON, |a| a.f);
        let fits = values.iter().all(|v| v.len() == channels);
        fits.then(|| BatchNorm { at, x: x.clone(), names: names.map(String::clone), values, epsilon })
    };
    let nodes = draft.graph.node.iter().enumerate();
    nodes.filter(|(_, n)| n.op_type == "BatchNormalization").filter_map(norm).collect()
}

fn onnx_values(tensor: &pb::TensorProto) -> Option<Vec<f32>> {
    super::floats::array(tensor).map(|values| values.iter().copied().collect())
}

/// Name of a norm: its scale's without the last part.
pub(super) fn layer(norm: &BatchNorm) -> &str {
    let scale = norm.names.first().map_or("", String::as_str);
    scale.strip_suffix(".weight").unwrap_or(scale)
}

/// `x * slope + offset`, where slope is `scale / sqrt(variance + epsilon)` and offset `shift - mean * slope`,
/// computed from scale and shift by fixed rows, so that both have their exact gradients.
fn by_fixed(draft: &mut Draft, norm: &BatchNorm, rank: usize) -> Vec<pb::NodeProto> {
    let name = layer(norm).to_string();
    let [scale_name, shift_name, ..] = &norm.names;
    let [_, _, mean, variance] = &norm.values;
    let inverse: Vec<f64> =
        variance.iter().map(|&v| 1.0 / (f64::from(v) + f64::from(norm.epsilon)).sqrt()).collect();
    let moved = mean.iter().zip(&inverse).map(|(&m, i)| (f64::from(m) * i) as f32);
    let column = column(channels(norm), rank);
    let row = |values: Vec<f32>| ArrayD::from_shape_vec(column.as_slice(), values).unwrap_or_default();
    let moved = draft.fixed(&name, &row(moved.collect()));
    let inverse = draft.fixed(&name, &row(inverse.iter().map(|&i| i as f32).collect()));
    let mut nodes = vec![];
    let mut add = |draft: &mut Draft, op: &str, inputs: &[&str]| {
        let node = draft.operator(&name, op, inputs, vec![]);
        let output = node.output.first().cloned().unwrap_or_default();
        nodes.push(node);
        output
    };
    let target = draft.integer(&name, &column.iter().map(|&d| d as i64).collect::<Vec<_>>());
    let scale = add(draft, "Reshape", &[scale_name, &target]);
    let shift = add(draft, "Reshape", &[shift_name, &target]);
    let slope = add(draft, "Mul", &[&scale, &inverse]);
    let moved = add(draft, "Mul", &[&scale, &moved]);
    let offset = add(draft, "Sub", &[&shift, &moved]);
    let scaled = add(draft, "Mul", &[&norm.x, &slope]);
    add(draft, "Add", &[&scaled, &offset]);
    nodes
}

fn column(channels: usize, rank: usize) -> Vec<usize> {
    let mut column = vec![1, channels];
    column.resize(rank, 1);
    column
}

/// The form that architectures have for training: a fused call, with the clip that follows; mean and variance
/// of the batch, the latter unbiased, leave as outputs, and the running ones are state.
fn by_statistics(
    draft: &mut Draft,
    norm: &BatchNorm,
    shape: &[usize],
    clip: Clip,
    statistics: &mut Tensors,
    origins: &mut BTreeMap<String, Origin>,
) -> TractResult<Vec<pb::NodeProto>> {
    let name = layer(norm).to_string();
    let column = column(channels(norm), shape.len());
    let call = fused::BatchNorm { shape: shape.to_vec(), axis: 1, epsilon: norm.epsilon, clip };
    let positions = call.count() as f32;
    let [scale, shift, ..] = &norm.names;
    let outputs = ["y", "mean", "variance"].map(|part| draft.fresh(&format!("{name}.{part}")));
    let [y, mean, variance] = outputs.clone();
    let inputs = vec![norm.x.clone(), scale.clone(), shift.clone()];
    let call = draft.functions.node(&Call::BatchNorm(call), y.clone(), inputs, outputs.to_vec())?;
    let mut nodes = vec![call];
    let unbias = positions / (positions - 1.0).max(1.0);
    let unbias = draft.fixed(&name, &ndarray::arr0(unbias).into_dyn());
    let target = draft.integer(&name, &column.iter().map(|&d| d as i64).collect::<Vec<_>>());
    let mut push = |node: pb::NodeProto| {
        let output = node.output.first().cloned().unwrap_or_default();
        nodes.push(node);
        output
    };
    let unbiased = push(draft.operator(&name, "Mul", &[&variance, &unbias], vec![]));
    for (kind, value, running, values) in [
        ("mean", &mean, &norm.names[2], &norm.values[2]),
        ("var", &unbiased, &norm.names[3], &norm.values[3]),
    ] {
        let output = draft.fresh(&format!("{name}.batch_{kind}"));
        let mut leaves = draft.operator(&name, "Reshape", &[value, &target], vec![]);
        leaves.output = vec![output.clone()];
        push(leaves);
        draft.graph.output.push(proto::value_info(&output, &column));
        // The running statistic goes by the name that the compiler gives it.
        let norm = output.rsplit_once(".batch_").map_or(output.as_str(), |(norm, _)| norm);
        let state = format!("{norm}.running_{kind}");
        if let Some(origin) = origins.remove(running) {
            origins.insert(state.clone(), origin);
        }
        statistics.insert(state, ndarray::arr1(values).into_dyn());
    }
    push(draft.operator(&name, "Identity", &[&y], vec![]));
    Ok(nodes)
}

/// Takes over the clip that alone reads the norm, whose node becomes a copy; no bounds when there is none.
fn take_clip(draft: &mut Draft, norm: &BatchNorm) -> Clip {
    let output = draft.graph.node.get(norm.at).and_then(|n| n.output.first()).cloned().unwrap_or_default();
    let readers = draft.readers();
    let is_output = draft.graph.output.iter().any(|o| o.name == output);
    let Some([(reader, 0)]) = readers.get(&output).map(Vec::as_slice).filter(|_| !is_output) else {
        return Clip::default();
    };
    let Some(clip) = draft.graph.node.get(*reader).and_then(|node| clip(draft, node)) else {
        return Clip::default();
    };
    if let Some(node) = draft.graph.node.get_mut(*reader) {
        node.op_type = "Identity".into();
        node.input.truncate(1);
        node.attribute.clear();
    }
    clip
}

/// The bounds of a rectifier or a clip by constants, in order; `None` for any other node.
fn clip(draft: &Draft, node: &pb::NodeProto) -> Option<Clip> {
    let stored = |place: usize, name: &str| -> Option<Option<f32>> {
        if let Some(attribute) = attribute(node, name) {
            return Some(Some(attribute.f));
        }
        let Some(input) = node.input.get(place).filter(|name| !name.is_empty()) else { return Some(None) };
        let initializer = draft.graph.initializer.iter().find(|t| t.name == *input);
        let made = || draft.graph.node.iter().find(|n| n.output.first() == Some(input)).and_then(constant);
        let value = onnx_values(initializer.or_else(made)?)?;
        if let [one] = value.as_slice() { Some(Some(*one)) } else { None }
    };
    let clip = match node.op_type.as_str() {
        "Relu" => Clip { low: Some(0.0), high: None },
        "Clip" => Clip { low: stored(1, "min")?, high: stored(2, "max")? },
        _ => return None,
    };
    let (low, high) = clip.bounds();
    (low < high && (clip.low.is_some() || clip.high.is_some())).then_some(clip)
}

/// Says so when no norm is left of a net that looks as if it had had them.
fn note_none(draft: &mut Draft) {
    let is_norm = |n: &pb::NodeProto| n.op_type.contains("Normalization");
    let convolutions = draft.graph.node.iter().filter(|n| n.op_type == "Conv").count();
    let has_statistics = draft.graph.output.len() > 1;
    if convolutions == 0 || has_statistics || draft.graph.node.iter().any(is_norm) {
        return;
    }
    let biased = draft.graph.node.iter().filter(|n| n.op_type == "Conv" && n.input.len() > 2).count();
    if biased == convolutions {
        draft.note(
            "no batch norm is left: if the net had any, the exporter folded them into the convolutions \
             (PyTorch keeps them with `training=TrainingMode.TRAINING, do_constant_folding=False`)",
        );
    }
}
