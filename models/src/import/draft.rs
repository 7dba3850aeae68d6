//! The graph while it is being rewritten: names that are free, who reads and makes what, small
//! operators to add, and the removal of what nothing reads.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb;

use crate::fused::Functions;
use crate::onnx::proto;

/// A graph under rewriting.
pub(super) struct Draft {
    pub(super) graph: pb::GraphProto,
    /// Version of the default operator set.
    pub(super) opset: i64,
    /// What was changed, in words.
    pub(super) notes: Vec<String>,
    /// Functions that fused calls need.
    pub(super) functions: Functions,
    names: HashSet<String>,
    counts: HashMap<String, usize>,
}

impl Draft {
    pub(super) fn new(graph: pb::GraphProto, opset: i64) -> Self {
        let mut draft = Self {
            graph,
            opset,
            notes: vec![],
            functions: Functions::default(),
            names: HashSet::new(),
            counts: HashMap::new(),
        };
        draft.forget_names();
        draft
    }

    /// Frees the names of what is no longer in the graph.
    pub(super) fn forget_names(&mut self) {
        let made = self.graph.node.iter().flat_map(|n| &n.output);
        let stored = self.graph.initializer.iter().map(|t| &t.name);
        let read = self.graph.node.iter().flat_map(|n| &n.input);
        let inputs = self.graph.input.iter().map(|i| &i.name);
        // What is read is counted too: weights are read before they are stored.
        self.names = made.chain(stored).chain(read).chain(inputs).cloned().collect();
    }

    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// A value name that is free: `stem`, or `stem_2` and so on.
    pub(super) fn fresh(&mut self, stem: &str) -> String {
        self.free(stem, |count| format!("{stem}_{count}"))
    }

    /// A name for part of a layer that is free: `layer.part`, or `layer_2.part` and so on.
    pub(super) fn fresh_part(&mut self, name: &str) -> String {
        let Some((layer, part)) = name.rsplit_once('.') else { return self.fresh(name) };
        self.free(name, |count| format!("{layer}_{count}.{part}"))
    }

    fn free(&mut self, stem: &str, numbered: impl Fn(usize) -> String) -> String {
        if self.names.insert(stem.to_string()) {
            return stem.to_string();
        }
        // Counting on from the last time keeps many equal stems linear.
        let mut count = self.counts.get(stem).copied().unwrap_or(1);
        let name = loop {
            count += 1;
            let name = numbered(count);
            if self.names.insert(name.clone()) {
                break name;
            }
        };
        self.counts.insert(stem.to_string(), count);
        name
    }

    /// By value, the node that makes it.
    pub(super) fn makers(&self) -> HashMap<String, usize> {
        let nodes = self.graph.node.iter().enumerate();
        nodes.flat_map(|(i, n)| n.output.iter().map(move |o| (o.clone(), i))).collect()
    }

    /// By value, the nodes that read it and at which input.
    pub(super) fn readers(&self) -> HashMap<String, Vec<(usize, usize)>> {
        let mut readers: HashMap<String, Vec<(usize, usize)>> = HashMap::new();
        for (i, node) in self.graph.node.iter().enumerate() {
            for (slot, input) in node.input.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
                readers.entry(input.clone()).or_default().push((i, slot));
            }
        }
        readers
    }

    /// Gives values other names, wherever they are read.
    pub(super) fn rename_reads(&mut self, names: &HashMap<String, String>) {
        for input in self.graph.node.iter_mut().flat_map(|n| &mut n.input) {
            if let Some(name) = names.get(input) {
                input.clone_from(name);
            }
        }
    }

    /// A node over `inputs` with one output, not yet in the graph.
    pub(super) fn operator(
        &mut self,
        stem: &str,
        op: &str,
        inputs: &[&str],
        attributes: Vec<pb::AttributeProto>,
    ) -> pb::NodeProto {
        let output = self.fresh(&format!("{stem}.{}", op.to_ascii_lowercase()));
        pb::NodeProto {
            name: output.clone(),
            op_type: op.into(),
            input: inputs.iter().map(|i| (*i).to_string()).collect(),
            output: vec![output],
            attribute: attributes,
            ..Default::default()
        }
    }

    /// A mean over `axes` in the form of the file's operator set.
    pub(super) fn mean(&mut self, stem: &str, x: &str, axes: &[i64], keep: bool) -> pb::NodeProto {
        let mut attributes = vec![proto::int("keepdims", i64::from(keep))];
        if self.opset < 18 {
            attributes.push(proto::ints("axes", axes.to_vec()));
            return self.operator(stem, "ReduceMean", &[x], attributes);
        }
        let axes = self.integer(stem, axes);
        self.operator(stem, "ReduceMean", &[x, &axes], attributes)
    }

    /// Stores integers as an initializer and gives its name.
    pub(super) fn integer(&mut self, stem: &str, values: &[i64]) -> String {
        let name = self.fresh(&format!("{stem}.ints"));
        self.graph.initializer.push(proto::int_tensor(&name, values));
        name
    }

    /// Stores a fixed array, which is no weight, and gives its name.
    pub(super) fn fixed(&mut self, stem: &str, values: &ndarray::ArrayD<f32>) -> String {
        let name = self.fresh(&format!("{stem}.fixed"));
        self.graph.initializer.push(proto::tensor(&name, values));
        name
    }

    /// Puts each list of nodes before the node of its number; numbers from the length on append.
    pub(super) fn insert(&mut self, mut additions: HashMap<usize, Vec<pb::NodeProto>>) {
        let old = std::mem::take(&mut self.graph.node);
        let end = old.len();
        for (i, node) in old.into_iter().enumerate() {
            self.graph.node.extend(additions.remove(&i).unwrap_or_default());
            self.graph.node.push(node);
        }
        self.graph.node.extend(additions.remove(&end).unwrap_or_default());
    }

    /// Removes nodes and initializers that no output depends on.
    pub(super) fn sweep(&mut self) {
        let mut needed: HashSet<String> = self.graph.output.iter().map(|o| o.name.clone()).collect();
        let mut keep = vec![false; self.graph.node.len()];
        for (node, keep) in self.graph.node.iter().zip(&mut keep).rev() {
            *keep = node.output.iter().any(|o| needed.contains(o));
            if *keep {
                needed.extend(node.input.iter().cloned());
            }
        }
        let mut keep = keep.into_iter();
        self.graph.node.retain(|_| keep.next().unwrap_or(true));
        self.graph.initializer.retain(|t| needed.contains(&t.name));
    }
}

/// Small integer constants of `graph` by name.
pub(super) fn integers(graph: &pb::GraphProto) -> HashMap<String, Vec<i64>> {
    let stored = graph.initializer.iter().map(|t| (&t.name, t));
    let constants = graph.node.iter().filter_map(|n| Some((n.output.first()?, constant(n)?)));
    stored.chain(constants).filter_map(|(name, t)| Some((name.clone(), whole_numbers(t)?))).collect()
}

/// The name of a node, or of what it makes when it has none.
pub(super) fn label(node: &pb::NodeProto) -> String {
    let name = if node.name.is_empty() { node.output.first() } else { Some(&node.name) };
    name.cloned().unwrap_or_default()
}

/// The first named output of a node, by which it is found again.
pub(super) fn made(node: &pb::NodeProto) -> String {
    node.output.iter().find(|o| !o.is_empty()).cloned().unwrap_or_default()
}

/// Attribute `name` of `node`.
pub(super) fn attribute<'n>(node: &'n pb::NodeProto, name: &str) -> Option<&'n pb::AttributeProto> {
    node.attribute.iter().find(|a| a.name == name)
}

/// Integer attribute `name`, or `default`.
pub(super) fn int(node: &pb::NodeProto, name: &str, default: i64) -> i64 {
    attribute(node, name).map_or(default, |a| a.i)
}

/// The tensor that a `Constant` node holds.
pub(super) fn constant(node: &pb::NodeProto) -> Option<&pb::TensorProto> {
    if node.op_type != "Constant" {
        return None;
    }
    attribute(node, "value")?.t.as_ref()
}

/// An axis counted from the front.
pub(super) fn from_front(axis: i64, rank: usize) -> Option<usize> {
    let axis = if axis < 0 { axis.checked_add(i64::try_from(rank).ok()?)? } else { axis };
    usize::try_from(axis).ok().filter(|&a| a <= rank)
}

/// Most values of a shape or list of axes.
const MAX_INTEGERS: usize = 64;

fn whole_numbers(tensor: &pb::TensorProto) -> Option<Vec<i64>> {
    if tensor.data_type != pb::tensor_proto::DataType::Int64 as i32 {
        return None;
    }
    let values = if tensor.raw_data.is_empty() {
        tensor.int64_data.clone()
    } else {
        tensor.raw_data.as_chunks::<8>().0.iter().map(|b| i64::from_le_bytes(*b)).collect()
    };
    (values.len() <= MAX_INTEGERS).then_some(values)
}
