//! Batch norm in the form asked for: folded into the layer before it, by fixed statistics with a trained
//! scale and shift, or by the statistics of the batch (Ioffe & Szegedy 2015, algorithm 1).

use std::collections::{BTreeMap, HashMap};

use ndarray::ArrayD;
use tract_onnx::pb;

use super::NormForm;
use super::draft::{Draft, attribute};
use super::fold::{self, Folded};
use super::shapes::Shapes;
use super::weights::{Found, Origin};
use crate::architecture::BATCH_NORM_EPSILON;
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
pub(super) fn rewrite(
    draft: &mut Draft,
    form: NormForm,
    shapes: &Shapes,
    weights: &mut Vec<Found>,
    origins: &mut BTreeMap<String, Origin>,
) -> Normed {
    let mut normed = Normed { statistics: Tensors::new(), folded: vec![] };
    let norms = read(draft);
    if norms.is_empty() {
        note_none(draft);
        return normed;
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
        return normed;
    }
    let by_batch = form == NormForm::Statistics;
    let what =
        if by_batch { "the statistics of the batch" } else { "their stored statistics, which stay fixed" };
    draft.note(format!("{} batch norms normalise by {what}", rest.len()));
    let mut additions = HashMap::new();
    for norm in &rest {
        let rank = shapes.get(&norm.x).map_or(4, Vec::len).max(2);
        let nodes = if by_batch {
            let positions = shapes.get(&norm.x).map_or(1, |s| s.iter().product::<usize>() / channels(norm));
            by_statistics(draft, norm, rank, positions, &mut normed.statistics, origins)
        } else {
            by_fixed(draft, norm, rank)
        };
        additions.insert(norm.at, nodes);
    }
    replace(draft, additions);
    draft.sweep();
    normed
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

/// The form that architectures have for training: mean and variance of the batch, the latter unbiased, leave
/// as outputs, and the running ones are state.
fn by_statistics(
    draft: &mut Draft,
    norm: &BatchNorm,
    rank: usize,
    positions: usize,
    statistics: &mut Tensors,
    origins: &mut BTreeMap<String, Origin>,
) -> Vec<pb::NodeProto> {
    let name = layer(norm).to_string();
    let column = column(channels(norm), rank);
    let axes: Vec<i64> = std::iter::once(0).chain(2..rank as i64).collect();
    let scalar = |draft: &mut Draft, value: f32| draft.fixed(&name, &ndarray::arr0(value).into_dyn());
    let mut nodes = vec![];
    let mut push = |node: pb::NodeProto| {
        let output = node.output.first().cloned().unwrap_or_default();
        nodes.push(node);
        output
    };
    let [scale, shift, ..] = &norm.names;
    let x = norm.x.as_str();
    let mean = push(draft.mean(&name, x, &axes, true));
    let square = push(draft.operator(&name, "Mul", &[x, x], vec![]));
    let mean_square = push(draft.mean(&name, &square, &axes, true));
    let squared_mean = push(draft.operator(&name, "Mul", &[&mean, &mean], vec![]));
    let variance = push(draft.operator(&name, "Sub", &[&mean_square, &squared_mean], vec![]));
    let unbias = scalar(draft, positions as f32 / (positions as f32 - 1.0).max(1.0));
    let unbiased = push(draft.operator(&name, "Mul", &[&variance, &unbias], vec![]));
    let target = draft.integer(&name, &column.iter().map(|&d| d as i64).collect::<Vec<_>>());
    let scale = push(draft.operator(&name, "Reshape", &[scale, &target], vec![]));
    let shift = push(draft.operator(&name, "Reshape", &[shift, &target], vec![]));
    let epsilon = scalar(draft, norm.epsilon);
    let steadied = push(draft.operator(&name, "Add", &[&variance, &epsilon], vec![]));
    let deviation = push(draft.operator(&name, "Sqrt", &[&steadied], vec![]));
    let slope = push(draft.operator(&name, "Div", &[&scale, &deviation], vec![]));
    let moved = push(draft.operator(&name, "Mul", &[&mean, &slope], vec![]));
    let offset = push(draft.operator(&name, "Sub", &[&shift, &moved], vec![]));
    for (kind, value, running, values) in [
        ("mean", &mean, &norm.names[2], &norm.values[2]),
        ("var", &unbiased, &norm.names[3], &norm.values[3]),
    ] {
        let output = draft.fresh(&format!("{name}.batch_{kind}"));
        let mut leaves = draft.operator(&name, "Identity", &[value], vec![]);
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
    let scaled = push(draft.operator(&name, "Mul", &[x, &slope], vec![]));
    push(draft.operator(&name, "Add", &[&scaled, &offset], vec![]));
    nodes
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
