//! Folding batch norm away: the layer before it takes its scale into the weight and the rest into its bias.
//! In the original file, the norm that was folded becomes the identity plus the bias when the trained
//! weights are written back.

use std::collections::{BTreeMap, HashMap, HashSet};

use ndarray::{ArrayD, Axis, IxDyn};
use tract_onnx::pb;

use super::draft::{Draft, attribute, int};
use super::floats;
use super::norm::{BatchNorm, layer};
use super::weights::{Found, Origin, Slot};
use crate::onnx::proto;
use crate::selection::Kind;

/// A batch norm that was folded into the layer before it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Folded {
    /// Imported name of the layer's weight.
    pub(super) weight: String,
    /// Imported name of the layer's bias.
    pub(super) bias: String,
    /// Where the bias was in the original, if the layer had one there.
    pub(super) old_bias: Option<Origin>,
    /// Scale, shift, mean and variance in the original.
    pub(super) norm: [Origin; 4],
    /// Added to the variance.
    pub(super) epsilon: f32,
}

/// Folds those of `norms` that follow a layer that can take them; gives back the others.
pub(super) fn all(
    draft: &mut Draft,
    norms: Vec<BatchNorm>,
    weights: &mut Vec<Found>,
    origins: &mut BTreeMap<String, Origin>,
    folded: &mut Vec<Folded>,
) -> Vec<BatchNorm> {
    let makers = draft.makers();
    let readers = draft.readers();
    let tensors = draft.graph.initializer.iter().enumerate();
    let stored: HashMap<String, usize> = tensors.map(|(i, t)| (t.name.clone(), i)).collect();
    let mut kept = vec![];
    let mut gone: HashSet<String> = HashSet::new();
    let mut biases: HashMap<String, Found> = HashMap::new();
    let mut passed: HashMap<String, String> = HashMap::new();
    for norm in norms {
        let before = makers.get(&norm.x).copied();
        let is_read_once = readers.get(&norm.x).is_some_and(|r| r.len() == 1)
            && draft.graph.output.iter().all(|o| o.name != norm.x);
        let done = before.filter(|_| is_read_once).and_then(|at| {
            let layer = Layer::read(draft, at, &norm, &readers, &stored)?;
            layer.fold(draft, at, &norm, &mut biases, origins)
        });
        let output = draft.graph.node.get(norm.at).and_then(|n| n.output.first()).cloned();
        match (done, output) {
            (Some(done), Some(output)) => {
                gone.extend(norm.names.iter().cloned());
                folded.push(done);
                passed.insert(output, norm.x);
            }
            _ => kept.push(norm),
        }
    }
    for node in &mut draft.graph.node {
        let is_folded = node.op_type == "BatchNormalization"
            && node.output.first().is_some_and(|o| passed.contains_key(o));
        if is_folded {
            node.op_type = "Identity".into();
            node.attribute.clear();
            node.input.truncate(1);
        }
    }
    let outputs: HashSet<String> = draft.graph.output.iter().map(|o| o.name.clone()).collect();
    passed.retain(|output, _| !outputs.contains(output));
    draft.rename_reads(&passed);
    let left = std::mem::take(weights).into_iter().filter(|w| !gone.contains(&w.name));
    for weight in left {
        let bias = biases.remove(&weight.name);
        weights.push(weight);
        weights.extend(bias);
    }
    kept
}

/// A convolution or product whose output a norm reads.
struct Layer {
    weight: String,
    bias: Option<String>,
    /// Numbers of the weight's and the bias's initializers.
    places: (usize, Option<usize>),
    /// Axis of the weight along which its outputs lie.
    axis: usize,
    values: ArrayD<f32>,
    shift: Vec<f32>,
}

impl Layer {
    fn read(
        draft: &Draft,
        at: usize,
        norm: &BatchNorm,
        readers: &HashMap<String, Vec<(usize, usize)>>,
        stored: &HashMap<String, usize>,
    ) -> Option<Self> {
        let node = draft.graph.node.get(at)?;
        let weight = node.input.get(1)?.clone();
        let axis = match node.op_type.as_str() {
            "Conv" => 0,
            "Gemm" if scales(node, "alpha") && scales(node, "beta") => {
                usize::from(int(node, "transB", 0) == 0)
            }
            _ => return None,
        };
        let own = |name: &String| {
            let place =
                stored.get(name).copied().filter(|_| readers.get(name).is_some_and(|r| r.len() == 1))?;
            Some((place, floats::array(draft.graph.initializer.get(place)?)?))
        };
        let (place, values) = own(&weight)?;
        let [scale, ..] = &norm.values;
        let channels = scale.len();
        if values.shape().get(axis) != Some(&channels) {
            return None;
        }
        let bias = node.input.get(2).filter(|b| !b.is_empty()).cloned();
        let (bias_place, shift) = match &bias {
            Some(bias) => {
                let (place, shift) = own(bias)?;
                (Some(place), shift.iter().copied().collect())
            }
            None => (None, vec![0.0; channels]),
        };
        let places = (place, bias_place);
        (shift.len() == channels).then_some(Self { weight, bias, places, axis, values, shift })
    }

    fn fold(
        mut self,
        draft: &mut Draft,
        at: usize,
        norm: &BatchNorm,
        biases: &mut HashMap<String, Found>,
        origins: &mut BTreeMap<String, Origin>,
    ) -> Option<Folded> {
        let parts: Vec<Origin> = norm.names.iter().filter_map(|n| origins.get(n).cloned()).collect();
        let parts: [Origin; 4] = parts.try_into().ok()?;
        let [scale, shift, mean, variance] = &norm.values;
        let mut bias = Vec::with_capacity(scale.len());
        let rows = self.values.axis_iter_mut(Axis(self.axis)).zip(&self.shift);
        let numbers = scale.iter().zip(shift).zip(mean.iter().zip(variance));
        for ((mut row, &before), ((&scale, &shift), (&mean, &variance))) in rows.zip(numbers) {
            // In f64, so that folding adds no error of its own.
            let slope = f64::from(scale) / (f64::from(variance) + f64::from(norm.epsilon)).sqrt();
            row.mapv_inplace(|w| (f64::from(w) * slope) as f32);
            bias.push((f64::from(shift) + (f64::from(before) - f64::from(mean)) * slope) as f32);
        }
        let bias = ArrayD::from_shape_vec(IxDyn(&[bias.len()]), bias).ok()?;
        let stem = self.weight.strip_suffix(".weight").map_or_else(|| layer(norm).to_string(), Into::into);
        let name = self.bias.clone().unwrap_or_else(|| draft.fresh(&format!("{stem}.bias")));
        let old_bias = self.bias.as_ref().and_then(|b| origins.remove(b));
        store(draft, Some(self.places.0), &self.weight, &self.values);
        store(draft, self.places.1, &name, &bias);
        if let Some(node) = draft.graph.node.get_mut(at) {
            node.input.resize(3, String::new());
            if let Some(input) = node.input.get_mut(2) {
                input.clone_from(&name);
            }
        }
        norm.names.iter().for_each(|n| drop(origins.remove(n)));
        if self.bias.is_none() {
            let (original, kind) = (String::new(), Kind::Bias);
            let (shape, axes) = (bias.shape().to_vec(), vec![0]);
            biases.insert(self.weight.clone(), Found { name: name.clone(), original, kind, shape, axes });
        }
        // A bias without a place in the original; the norm's shift takes it.
        origins.insert(name.clone(), Origin { slots: Vec::<Slot>::new(), permutation: vec![0] });
        Some(Folded { weight: self.weight, bias: name, old_bias, norm: parts, epsilon: norm.epsilon })
    }
}

/// Whether a factor of a product is one.
fn scales(node: &pb::NodeProto, name: &str) -> bool {
    attribute(node, name).is_none_or(|a| a.f == 1.0)
}

/// Replaces the initializer of that number, or adds one.
fn store(draft: &mut Draft, place: Option<usize>, name: &str, values: &ArrayD<f32>) {
    let tensor = proto::tensor(name, values);
    match place.and_then(|i| draft.graph.initializer.get_mut(i)) {
        Some(old) => *old = tensor,
        None => draft.graph.initializer.push(tensor),
    }
}
