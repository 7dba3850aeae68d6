//! Ways to break a network that keep most of it, so that the damage is found deep inside: bytes of the file,
//! and parts of the graph as a hostile or careless exporter would write them.

use prost::Message;
use rand::{Rng, RngExt};
use tract_onnx::pb;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::dimension::Value as Dim;

use super::seeds::Attribute::{Float, Int, Ints, Text};
use super::seeds::{attribute, int_tensor, node};

/// Numbers at which sizes, axes and strides go wrong.
const NUMBERS: [i64; 24] = [
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    16,
    64,
    255,
    4096,
    65_536,
    1 << 24,
    1 << 31,
    1 << 40,
    i64::MAX,
    i64::MAX - 1,
    -1,
    -2,
    -3,
    -64,
    -(1 << 33),
    i64::MIN,
];

/// Operators to put in the place of others, those that no encoder should hold among them.
const OPERATORS: [&str; 90] = [
    "Abs",
    "Add",
    "And",
    "ArgMax",
    "ArrayFeatureExtractor",
    "Attention",
    "AveragePool",
    "BatchNormalization",
    "BiasGelu",
    "BitShift",
    "Cast",
    "Clip",
    "Compress",
    "Concat",
    "Constant",
    "ConstantOfShape",
    "Conv",
    "ConvInteger",
    "ConvTranspose",
    "CumSum",
    "DFT",
    "DepthToSpace",
    "DequantizeLinear",
    "Div",
    "Dropout",
    "DynamicQuantizeLinear",
    "Einsum",
    "Equal",
    "Erf",
    "Exp",
    "Expand",
    "EyeLike",
    "Flatten",
    "GRU",
    "Gather",
    "GatherElements",
    "GatherND",
    "Gemm",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "GridSample",
    "GroupNormalization",
    "HardSwish",
    "Identity",
    "If",
    "InstanceNormalization",
    "LRN",
    "LSTM",
    "LayerNormalization",
    "LeakyRelu",
    "Log",
    "LogSoftmax",
    "Loop",
    "MatMul",
    "Max",
    "MaxPool",
    "MelWeightMatrix",
    "Mod",
    "Mul",
    "NonMaxSuppression",
    "NonZero",
    "OneHot",
    "PRelu",
    "Pad",
    "Pow",
    "QuantizeLinear",
    "RNN",
    "RandomNormal",
    "Range",
    "Reciprocal",
    "ReduceMax",
    "ReduceMean",
    "ReduceSum",
    "Reshape",
    "Resize",
    "STFT",
    "Scan",
    "ScatterElements",
    "ScatterND",
    "Shape",
    "Size",
    "Slice",
    "Softmax",
    "SpaceToDepth",
    "Split",
    "Squeeze",
    "Tile",
    "TopK",
    "Transpose",
    "Where",
];

/// Symbolic dimensions, some of which only look like one.
const SYMBOLS: [&str; 10] = [
    "",
    "batch",
    "N",
    "a*b",
    "floor(N/0)",
    "((((((((((N))))))))))",
    "-----N",
    "N/2+1",
    "9999999999999999999",
    "é",
];

/// A broken network and what was done to it.
pub struct Mutant {
    /// The file.
    pub bytes: Vec<u8>,
    /// What was done.
    pub done: String,
}

/// `model` with one to three changes.
pub fn mutant(model: &pb::ModelProto, rng: &mut impl Rng) -> Mutant {
    let mut model = model.clone();
    let mut done = vec![];
    if rng.random_range(0..8) == 0 {
        let mut bytes = model.encode_to_vec();
        damage(&mut bytes, rng, &mut done);
        return Mutant { bytes, done: done.join("; ") };
    }
    for _ in 0..rng.random_range(1..=3) {
        if let Some(graph) = &mut model.graph {
            done.push(change(graph, rng));
        }
    }
    if rng.random_range(0..24) == 0 {
        let version = *pick(&[1, 9, 11, 13, 17, 18, 20, 22, 30], rng).unwrap_or(&17);
        model.opset_import.iter_mut().for_each(|set| set.version = version);
        done.push(format!("operator set {version}"));
    }
    Mutant { bytes: model.encode_to_vec(), done: done.join("; ") }
}

/// Flips, inserts, deletes, repeats or cuts bytes.
pub fn damage(bytes: &mut Vec<u8>, rng: &mut impl Rng, done: &mut Vec<String>) {
    for _ in 0..rng.random_range(1..5) {
        let at = rng.random_range(0..bytes.len().max(1)).min(bytes.len());
        let end = (at + rng.random_range(1..9)).min(bytes.len());
        let what = rng.random_range(0..5);
        match what {
            0 => bytes[at..end].iter_mut().for_each(|byte| *byte ^= 1 << rng.random_range(0..8)),
            1 => drop(bytes.drain(at..end)),
            2 => drop(bytes.splice(at..at, (0..4).map(|_| rng.random::<u8>()))),
            3 => {
                let copy = bytes[at..end].to_vec();
                drop(bytes.splice(at..at, copy));
            }
            _ => bytes[at..end].fill(0xff),
        }
        done.push(format!("bytes {at}..{end} damaged in way {what}"));
    }
    if rng.random_range(0..6) == 0 {
        bytes.truncate(rng.random_range(0..bytes.len().max(1)));
        done.push(format!("cut at {}", bytes.len()));
    }
}

fn pick<'a, T>(from: &'a [T], rng: &mut impl Rng) -> Option<&'a T> {
    if from.is_empty() { None } else { from.get(rng.random_range(0..from.len())) }
}

fn pick_mut<'a, T>(from: &'a mut [T], rng: &mut impl Rng) -> Option<&'a mut T> {
    if from.is_empty() {
        return None;
    }
    let at = rng.random_range(0..from.len());
    from.get_mut(at)
}

fn number(rng: &mut impl Rng) -> i64 {
    *pick(&NUMBERS, rng).unwrap_or(&0)
}

/// Every name of a value that something reads or makes.
fn names(graph: &pb::GraphProto) -> Vec<String> {
    let made = graph.node.iter().flat_map(|n| &n.output).cloned();
    let stored = graph.initializer.iter().map(|t| t.name.clone());
    made.chain(stored).chain(graph.input.iter().map(|i| i.name.clone())).collect()
}

fn change(graph: &mut pb::GraphProto, rng: &mut impl Rng) -> String {
    match rng.random_range(0..5) {
        0 => change_stored(graph, rng),
        1 => change_attribute(graph, rng),
        2 => rewire(graph, rng),
        3 => change_declared(graph, rng),
        _ => add(graph, rng),
    }
    .unwrap_or_else(|| "nothing there to change".into())
}

/// Stored tensors: dims without data, both, the type, the numbers.
fn change_stored(graph: &mut pb::GraphProto, rng: &mut impl Rng) -> Option<String> {
    let tensor = pick_mut(&mut graph.initializer, rng)?;
    let name = tensor.name.clone();
    let width = if tensor.data_type == DataType::Int64 as i32 { 8 } else { 4 };
    Some(match rng.random_range(0..7) {
        0 => {
            *pick_mut(&mut tensor.dims, rng)? = number(rng);
            format!("dims of `{name}` {:?}", tensor.dims)
        }
        1 => {
            *pick_mut(&mut tensor.dims, rng)? = rng.random_range(0..20);
            let n = tensor.dims.iter().product::<i64>();
            tensor.raw_data.resize(usize::try_from(n * width).ok()?, 1);
            format!("`{name}` is now {:?}", tensor.dims)
        }
        2 => {
            tensor.dims.reverse();
            format!("dims of `{name}` reversed")
        }
        3 => {
            tensor.data_type = rng.random_range(0..24);
            format!("`{name}` has type {}", tensor.data_type)
        }
        4 if width == 8 => {
            let at = rng.random_range(0..tensor.raw_data.len() / 8);
            let value = number(rng);
            tensor.raw_data.get_mut(at * 8..at * 8 + 8)?.copy_from_slice(&value.to_le_bytes());
            format!("number {at} of `{name}` is {value}")
        }
        4 | 5 => {
            let value = *pick(&[f32::NAN, f32::INFINITY, 1e38, -1e38, 1e-45, 0.0], rng)?;
            let at = rng.random_range(0..tensor.raw_data.len() / 4) * 4;
            tensor.raw_data.get_mut(at..at + 4)?.copy_from_slice(&value.to_le_bytes());
            format!("a value of `{name}` is {value}")
        }
        _ => {
            tensor.dims.insert(0, 1);
            format!("`{name}` has an axis more")
        }
    })
}

fn change_attribute(graph: &mut pb::GraphProto, rng: &mut impl Rng) -> Option<String> {
    let node = pick_mut(&mut graph.node, rng)?;
    let name = node.name.clone();
    if node.attribute.is_empty() || rng.random_range(0..3) == 0 {
        let short = match rng.random_range(0..14) {
            0 => Int("axis", number(rng)),
            1 => Int("group", number(rng)),
            2 => Ints("strides", &[number(rng), 1]),
            3 => Ints("dilations", &[1, number(rng)]),
            4 => Ints("pads", &[number(rng), 1, 1, number(rng)]),
            5 => Ints("kernel_shape", &[number(rng), number(rng)]),
            6 => Text("auto_pad", "SAME_UPPER"),
            7 => Int("keepdims", number(rng)),
            8 => Ints("perm", &[number(rng), 0]),
            9 => Int("ceil_mode", 1),
            10 => Float("epsilon", -1.0),
            11 => Int("transA", number(rng)),
            12 => Int("training_mode", 1),
            _ => Int("count_include_pad", 1),
        };
        let added = attribute(&short);
        let said = format!("`{name}` has {} {} {:?}", added.name, added.i, added.ints);
        node.attribute.retain(|a| a.name != added.name);
        node.attribute.push(added);
        return Some(said);
    }
    let attribute = pick_mut(&mut node.attribute, rng)?;
    let what = attribute.name.clone();
    Some(match rng.random_range(0..6) {
        0 => {
            attribute.r#type = rng.random_range(0..16);
            format!("{what} of `{name}` has type {}", attribute.r#type)
        }
        1 => {
            attribute.ints.push(number(rng));
            attribute.ints.rotate_right(1);
            format!("{what} of `{name}` is {:?}", attribute.ints)
        }
        2 if attribute.r#type == AttributeType::String as i32 => {
            let equation = *pick(
                &["", "ii,ij->ij", "ab,cd->abcd", "...a,ab->...b", "b,b->", "bi,oi->zz", "SAME_LOWER"],
                rng,
            )?;
            attribute.s = equation.into();
            format!("{what} of `{name}` is {equation}")
        }
        3 => {
            let name_of = what.clone();
            node.attribute.retain(|a| a.name != name_of);
            format!("{what} of `{name}` is gone")
        }
        _ => {
            attribute.i = number(rng);
            if let Some(int) = pick_mut(&mut attribute.ints, rng) {
                *int = number(rng);
            }
            format!("{what} of `{name}` is {} {:?}", attribute.i, attribute.ints)
        }
    })
}

/// Who reads whom, in which order, through which operator.
fn rewire(graph: &mut pb::GraphProto, rng: &mut impl Rng) -> Option<String> {
    let names = names(graph);
    let at = rng.random_range(0..graph.node.len().max(1));
    let other = rng.random_range(0..graph.node.len().max(1));
    Some(match rng.random_range(0..9) {
        0 | 1 => {
            let name = pick(&names, rng)?.clone();
            let node = graph.node.get_mut(at)?;
            let said = format!("`{}` reads `{name}`", node.name);
            *pick_mut(&mut node.input, rng)? = name;
            said
        }
        2 | 3 => {
            let node = graph.node.get_mut(at)?;
            node.op_type = (*pick(&OPERATORS, rng)?).into();
            format!("`{}` is a {}", node.name, node.op_type)
        }
        4 => {
            let node = graph.node.remove(at);
            // Who read it now reads what it read.
            let (from, to) = (node.output.first()?.clone(), node.input.first()?.clone());
            graph
                .node
                .iter_mut()
                .flat_map(|n| &mut n.input)
                .filter(|i| **i == from)
                .for_each(|i| *i = to.clone());
            format!("`{}` is skipped", node.name)
        }
        5 => {
            let mut copy = graph.node.get(at)?.clone();
            copy.output.iter_mut().for_each(|name| name.push_str("_copy"));
            let said = format!("`{}` is there twice, by one name", copy.name);
            graph.node.insert(at, copy);
            said
        }
        6 => {
            graph.node.swap(at, other);
            format!("nodes {at} and {other} are swapped")
        }
        7 => {
            let node = graph.node.get_mut(at)?;
            if rng.random() {
                node.input.clear()
            } else {
                node.input.push(pick(&names, rng)?.clone())
            }
            format!("`{}` reads {:?}", node.name, node.input)
        }
        _ => {
            let name = pick(&names, rng)?.clone();
            let node = graph.node.get_mut(at)?;
            node.name = name.clone();
            node.output.extend((rng.random_range(0..4) == 0).then(|| "more".to_string()));
            format!("node {at} is called `{name}` and makes {:?}", node.output)
        }
    })
}

/// Declared inputs and outputs.
fn change_declared(graph: &mut pb::GraphProto, rng: &mut impl Rng) -> Option<String> {
    let names = names(graph);
    if rng.random_range(0..4) == 0 {
        let name = pick(&names, rng)?.clone();
        let output = pick_mut(&mut graph.output, rng)?;
        output.name = name.clone();
        return Some(format!("an output is `{name}`"));
    }
    let values = if rng.random_range(0..4) == 0 { &mut graph.output } else { &mut graph.input };
    let value = pick_mut(values, rng)?;
    let pb::type_proto::Value::TensorType(tensor) = value.r#type.as_mut()?.value.as_mut()?;
    let dims = &mut tensor.shape.as_mut()?.dim;
    if rng.random_range(0..8) == 0 {
        let one = dims.first()?.clone();
        dims.extend(std::iter::repeat_n(one, rng.random_range(1..12)));
        return Some(format!("`{}` has {} axes", value.name, dims.len()));
    }
    let dim = pick_mut(dims, rng)?;
    dim.value = Some(match rng.random_range(0..3) {
        0 => Dim::DimParam((*pick(&SYMBOLS, rng)?).into()),
        1 => Dim::DimValue(rng.random_range(1..30)),
        _ => Dim::DimValue(number(rng)),
    });
    Some(format!("`{}` has an axis of {:?}", value.name, dim.value))
}

/// New nodes in the middle: sizes out of thin air, chains, subgraphs.
fn add(graph: &mut pb::GraphProto, rng: &mut impl Rng) -> Option<String> {
    let at = rng.random_range(0..graph.node.len().max(1));
    let read = graph.node.get(at)?.input.first()?.clone();
    let n = rng.random_range(0..1_000_000);
    let (asked, made) = (format!("asked{n}"), format!("made{n}"));
    let rank = rng.random_range(1..5);
    graph.initializer.push(int_tensor(&asked, &(0..rank).map(|_| number(rng)).collect::<Vec<_>>()));
    let mut scalar = int_tensor(&format!("one{n}"), &[number(rng)]);
    scalar.dims.clear();
    let one = scalar.name.clone();
    graph.initializer.push(scalar);
    let mut nodes = match rng.random_range(0..10) {
        0 => vec![
            node("ConstantOfShape", &[&asked], &format!("{made}c"), &[]),
            node("Add", &[&read, &format!("{made}c")], &made, &[]),
        ],
        1 => vec![node("Expand", &[&read, &asked], &made, &[])],
        2 => vec![node("Tile", &[&read, &asked], &made, &[])],
        3 => vec![node("Pad", &[&read, &asked], &made, &[])],
        4 => vec![
            node("Range", &[&one, &one, &one], &format!("{made}r"), &[]),
            node("Mul", &[&read, &format!("{made}r")], &made, &[]),
        ],
        5 => vec![node("Resize", &[&read, "", "", &asked], &made, &[])],
        6 => vec![node("Reshape", &[&read, &asked], &made, &[])],
        7 => {
            // A chain, by one of several operators, each node reading the last.
            let op = *pick(&["Relu", "Identity", "Exp", "Add", "Transpose", "Neg"], rng)?;
            let length = rng.random_range(1..120);
            let name = |i: usize| if i == length { made.clone() } else { format!("{made}_{i}") };
            (1..=length)
                .map(|i| {
                    let last = if i == 1 { read.clone() } else { name(i - 1) };
                    let inputs: &[&str] = if op == "Add" { &[&last, &last] } else { &[&last] };
                    node(op, inputs, &name(i), &[])
                })
                .collect()
        }
        8 => {
            let mut branch = node("If", &[&read], &made, &[]);
            let mut body = attribute(&Int("then_branch", 0));
            body.r#type = AttributeType::Graph as i32;
            body.g = Some(pb::GraphProto { name: "body".into(), ..Default::default() });
            branch.attribute.push(body);
            vec![branch]
        }
        _ => vec![node("OneHot", &[&read, &one, &asked], &made, &[])],
    };
    let said = format!(
        "{} of `{read}` by {:?} is put before node {at}",
        nodes.last()?.op_type,
        graph
            .initializer
            .iter()
            .rev()
            .nth(1)?
            .raw_data
            .as_chunks::<8>()
            .0
            .iter()
            .map(|b| i64::from_le_bytes(*b))
            .collect::<Vec<_>>()
    );
    *graph.node.get_mut(at)?.input.first_mut()? = made;
    drop(graph.node.splice(at..at, nodes.drain(..)));
    Some(said)
}
