//! The way back: a trained state is written into the file that was imported, in its own names, types and
//! axes, so that its owner gets the same file with other weights.

use std::collections::{HashMap, HashSet};

use ndarray::ArrayD;
use prost::Message;
use tract_onnx::pb;

use super::draft::{Draft, constant, made};
use super::weights::{Origin, Slot};
use super::{ImportError, Imported, floats};
use crate::onnx::{initializers, proto, read};
use crate::tensors::Tensors;

/// First version of the file format in which an initializer need not be an input as well.
const FREE_INITIALIZERS: i64 = 4;

pub(super) fn write(imported: &Imported, original: &[u8], state: &Tensors) -> Result<Vec<u8>, ImportError> {
    let mut model = read::parse(original)?;
    let must_list = model.ir_version < FREE_INITIALIZERS;
    let Some(graph) = model.graph.take() else { return Ok(model.encode_to_vec()) };
    let mut file = File::new(graph, must_list);
    let mut current = initializers(&imported.model);
    current.extend(imported.statistics.clone());
    let folded: HashSet<&String> = imported.folded.iter().flat_map(|f| [&f.weight, &f.bias]).collect();
    for (name, values) in state {
        let Some(wanted) = current.get(name) else { continue };
        if wanted.shape() != values.shape() {
            let (found, wanted) = (values.shape().to_vec(), wanted.shape().to_vec());
            return Err(ImportError::State { name: name.clone(), found, wanted });
        }
        if let Some(origin) = imported.origins.get(name).filter(|_| !folded.contains(name)) {
            file.write(name, origin, values)?;
        }
    }
    for norm in &imported.folded {
        if !state.contains_key(&norm.weight) && !state.contains_key(&norm.bias) {
            continue;
        }
        let value =
            |name: &String| state.get(name).or_else(|| current.get(name)).cloned().unwrap_or_default();
        let (weight, bias) = (value(&norm.weight), value(&norm.bias));
        if let Some(origin) = imported.origins.get(&norm.weight) {
            file.write(&norm.weight, origin, &weight)?;
        }
        if let Some(old) = &norm.old_bias {
            file.write(&norm.bias, old, &ArrayD::zeros(bias.raw_dim()))?;
        }
        // The norm becomes the identity plus the bias.
        let [scale, shift, mean, variance] = &norm.norm;
        let all = |value: f32| ArrayD::from_elem(bias.raw_dim(), value);
        file.write("folded.weight", scale, &all(1.0))?;
        file.write("folded.bias", shift, &bias)?;
        file.write("folded.running_mean", mean, &all(0.0))?;
        file.write("folded.running_var", variance, &all(1.0 - norm.epsilon))?;
    }
    model.graph = Some(file.finish());
    Ok(model.encode_to_vec())
}

/// Where a stored array of the file is.
#[derive(Clone, Copy)]
enum Place {
    Initializer(usize),
    Constant(usize),
}

/// The original file while arrays are put into it.
struct File {
    draft: Draft,
    must_list: bool,
    /// By value, the stored array that it is, through copies.
    roots: HashMap<String, String>,
    places: HashMap<String, Place>,
    /// Inputs that read each stored array, through copies.
    readers: HashMap<String, HashSet<Slot>>,
    nodes: HashMap<String, usize>,
    /// Stored arrays that lost a reader.
    left: HashSet<String>,
}

impl File {
    fn new(graph: pb::GraphProto, must_list: bool) -> Self {
        let mut roots: HashMap<String, String> = HashMap::new();
        let mut places = HashMap::new();
        let mut readers: HashMap<String, HashSet<Slot>> = HashMap::new();
        let mut nodes = HashMap::new();
        for (i, tensor) in graph.initializer.iter().enumerate() {
            roots.insert(tensor.name.clone(), tensor.name.clone());
            places.insert(tensor.name.clone(), Place::Initializer(i));
        }
        for (i, node) in graph.node.iter().enumerate() {
            let name = made(node);
            nodes.insert(name.clone(), i);
            if constant(node).is_some() {
                roots.insert(name.clone(), name.clone());
                places.insert(name, Place::Constant(i));
            } else if node.op_type == "Identity"
                && let Some(root) = node.input.first().and_then(|x| roots.get(x)).cloned()
            {
                roots.insert(name, root);
            } else {
                for (input, value) in node.input.iter().enumerate() {
                    if let Some(root) = roots.get(value) {
                        let slot = Slot { node: name.clone(), input };
                        readers.entry(root.clone()).or_default().insert(slot);
                    }
                }
            }
        }
        // What leaves the graph is read by whoever runs it.
        for output in &graph.output {
            if let Some(root) = roots.get(&output.name) {
                let slot = Slot { node: output.name.clone(), input: usize::MAX };
                readers.entry(root.clone()).or_default().insert(slot);
            }
        }
        let draft = Draft::new(graph, 0);
        Self { draft, must_list, roots, places, readers, nodes, left: HashSet::new() }
    }

    /// Puts `values`, in the imported order of axes, where `origin` tells.
    fn write(&mut self, name: &str, origin: &Origin, values: &ArrayD<f32>) -> Result<(), ImportError> {
        let Some(first) = origin.slots.first() else { return Ok(()) };
        let other = |slot: &Slot| ImportError::OtherFile { node: slot.node.clone(), input: slot.input };
        let read =
            |slot: &Slot| self.draft.graph.node.get(*self.nodes.get(&slot.node)?)?.input.get(slot.input);
        let root =
            read(first).and_then(|value| self.roots.get(value)).cloned().ok_or_else(|| other(first))?;
        let place = self.places.get(&root).copied().ok_or_else(|| other(first))?;
        let stored = match place {
            Place::Initializer(i) => self.draft.graph.initializer.get(i),
            Place::Constant(i) => self.draft.graph.node.get(i).and_then(constant),
        };
        let stored = stored.ok_or_else(|| other(first))?;
        let rank = values.ndim();
        let back: Vec<usize> =
            (0..rank).filter_map(|axis| origin.permutation.iter().position(|&p| p == axis)).collect();
        if back.len() != rank {
            return Err(other(first));
        }
        let values = values.view().permuted_axes(back).as_standard_layout().into_owned();
        if floats::shape(stored) != values.shape() || !floats::is_float(stored.data_type) {
            return Err(other(first));
        }
        let data_type = stored.data_type;
        let own: HashSet<Slot> = origin.slots.iter().cloned().collect();
        if self.readers.get(&root) == Some(&own) {
            self.overwrite(place, &floats::tensor(&root, &values, data_type));
            return Ok(());
        }
        // Others read the same stored array: it gets one of its own.
        let fresh = self.draft.fresh(name);
        for slot in &origin.slots {
            let node = self.nodes.get(&slot.node).and_then(|&i| self.draft.graph.node.get_mut(i));
            let input = node.and_then(|n| n.input.get_mut(slot.input)).ok_or_else(|| other(slot))?;
            input.clone_from(&fresh);
        }
        if let Some(readers) = self.readers.get_mut(&root) {
            readers.retain(|slot| !own.contains(slot));
        }
        self.left.insert(root);
        if self.must_list {
            self.draft.graph.input.push(proto::value_info(&fresh, values.shape()));
        }
        self.draft.graph.initializer.push(floats::tensor(&fresh, &values, data_type));
        Ok(())
    }

    fn overwrite(&mut self, place: Place, tensor: &pb::TensorProto) {
        match place {
            Place::Initializer(i) => {
                if let Some(old) = self.draft.graph.initializer.get_mut(i) {
                    old.clone_from(tensor);
                }
            }
            Place::Constant(i) => {
                let node = self.draft.graph.node.get_mut(i);
                let value = node.and_then(|n| n.attribute.iter_mut().find(|a| a.name == "value"));
                if let Some(old) = value.and_then(|a| a.t.as_mut()) {
                    let name = std::mem::take(&mut old.name);
                    *old = pb::TensorProto { name, ..tensor.clone() };
                }
            }
        }
    }

    /// The graph without the arrays, and copies of them, that lost their last reader.
    fn finish(self) -> pb::GraphProto {
        let mut graph = self.draft.graph;
        let unread =
            |root: &String| self.left.contains(root) && self.readers.get(root).is_none_or(HashSet::is_empty);
        let gone: HashSet<&String> =
            self.roots.iter().filter(|(_, root)| unread(root)).map(|(value, _)| value).collect();
        graph.node.retain(|n| n.output.first().is_none_or(|o| !gone.contains(o)));
        graph.initializer.retain(|t| !gone.contains(&t.name));
        graph.input.retain(|i| !gone.contains(&i.name));
        graph
    }
}
