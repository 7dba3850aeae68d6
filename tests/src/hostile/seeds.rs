//! Small networks in which every operator family of the compiler occurs, so that little damage reaches much
//! code.

use prost::Message;
use sedge_models::architecture::{Architecture, Block, Conv1d, Form, InvertedResidual, fold};
use sedge_models::onnx::build::Batch;
use tract_onnx::pb;
use tract_onnx::pb::attribute_proto::AttributeType;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::pb::tensor_shape_proto::{Dimension, dimension};

/// A network and what it is.
pub struct Seed {
    /// For messages.
    pub name: &'static str,
    /// The network.
    pub model: pb::ModelProto,
}

/// Every seed. All are valid encoders of batch four.
pub fn all() -> Vec<Seed> {
    let mut seeds = vec![
        Seed { name: "pools", model: pools() },
        Seed { name: "transformer", model: transformer() },
        Seed { name: "shapes", model: shapes() },
        Seed { name: "elements", model: elements() },
    ];
    seeds.extend(presets());
    seeds
}

fn presets() -> Vec<Seed> {
    let block = |channels, stride| Block { channels, stride, expand: 2 };
    let image = InvertedResidual { stem: 4, stem_stride: 2, blocks: vec![block(6, 2), block(6, 1)], last: 8 };
    let image = Architecture::InvertedResidual(image);
    let imu = Architecture::Conv1d(Conv1d { channels: vec![4, 8], strides: vec![1, 2], kernel: 3 });
    let mut seeds = vec![];
    for (name, net, sample, form) in [
        ("image with batch statistics", &image, &[3, 12, 12][..], Form::Training),
        ("image with stored statistics", &image, &[3, 12, 12], Form::Inference),
        ("image folded", &image, &[3, 12, 12], Form::Folded),
        ("windows with batch statistics", &imu, &[6, 16], Form::Training),
        ("windows folded", &imu, &[6, 16], Form::Folded),
    ] {
        let made = net.initial_weights(sample, 1).and_then(|weights| {
            let weights = if form == Form::Folded { fold(&weights)? } else { weights };
            net.graph(form, Batch::Fixed(4), sample, &weights)
        });
        // The numbers above are in range; a preset that is refused is missed by the test that counts them.
        if let Ok(model) = made {
            seeds.push(Seed { name, model });
        }
    }
    seeds
}

/// Writes a graph node by node; weights are a fixed pattern of small numbers.
pub(super) struct Net {
    pub(super) graph: pb::GraphProto,
    count: usize,
}

/// An attribute in short.
pub(super) enum Attribute<'a> {
    Int(&'a str, i64),
    Ints(&'a str, &'a [i64]),
    Float(&'a str, f32),
    Text(&'a str, &'a str),
}

use Attribute::{Float, Int, Ints, Text};

impl Net {
    fn new(input: &[i64]) -> Self {
        let graph = pb::GraphProto { name: "g".into(), input: vec![value("x", input)], ..Default::default() };
        Self { graph, count: 0 }
    }

    fn weight(&mut self, name: &str, dims: &[i64]) -> String {
        let n = dims.iter().product::<i64>();
        let values = (0..n).flat_map(|i| (((i * 37 + 11) % 29 - 14) as f32 * 0.03 + 0.001).to_le_bytes());
        self.graph.initializer.push(pb::TensorProto {
            name: name.into(),
            dims: dims.to_vec(),
            data_type: DataType::Float as i32,
            raw_data: values.collect(),
            ..Default::default()
        });
        name.into()
    }

    fn ints(&mut self, ints: &[i64]) -> String {
        self.count += 1;
        let name = format!("c{}", self.count);
        self.graph.initializer.push(int_tensor(&name, ints));
        name
    }

    fn op(&mut self, op: &str, inputs: &[&str], attributes: &[Attribute<'_>]) -> String {
        self.count += 1;
        let output = format!("v{}", self.count);
        self.graph.node.push(node(op, inputs, &output, attributes));
        output
    }

    fn finish(mut self, output: &str, dim: i64) -> pb::ModelProto {
        self.graph.output = vec![value(output, &[4, dim])];
        pb::ModelProto {
            ir_version: 8,
            opset_import: vec![pb::OperatorSetIdProto { domain: String::new(), version: 17 }],
            graph: Some(self.graph),
            ..Default::default()
        }
    }
}

/// A node with one output.
pub(super) fn node(op: &str, inputs: &[&str], output: &str, attributes: &[Attribute<'_>]) -> pb::NodeProto {
    pb::NodeProto {
        name: format!("{output}_node"),
        op_type: op.into(),
        input: inputs.iter().map(|i| (*i).into()).collect(),
        output: vec![output.into()],
        attribute: attributes.iter().map(attribute).collect(),
        ..Default::default()
    }
}

/// The attribute in ONNX's form.
pub(super) fn attribute(short: &Attribute<'_>) -> pb::AttributeProto {
    let mut attribute = pb::AttributeProto::default();
    let (name, kind) = match short {
        Int(name, i) => {
            attribute.i = *i;
            (name, AttributeType::Int)
        }
        Ints(name, ints) => {
            attribute.ints = ints.to_vec();
            (name, AttributeType::Ints)
        }
        Float(name, f) => {
            attribute.f = *f;
            (name, AttributeType::Float)
        }
        Text(name, text) => {
            attribute.s = text.as_bytes().to_vec();
            (name, AttributeType::String)
        }
    };
    attribute.name = (*name).into();
    attribute.r#type = kind as i32;
    attribute
}

/// A list of integers as a stored tensor.
pub(super) fn int_tensor(name: &str, ints: &[i64]) -> pb::TensorProto {
    pb::TensorProto {
        name: name.into(),
        dims: vec![ints.len() as i64],
        data_type: DataType::Int64 as i32,
        raw_data: ints.iter().flat_map(|i| i.to_le_bytes()).collect(),
        ..Default::default()
    }
}

fn value(name: &str, dims: &[i64]) -> pb::ValueInfoProto {
    let dim = dims
        .iter()
        .map(|&d| Dimension { value: Some(dimension::Value::DimValue(d)), ..Default::default() })
        .collect();
    let shape = Some(pb::TensorShapeProto { dim });
    let tensor = pb::type_proto::Tensor { elem_type: DataType::Float as i32, shape };
    pb::ValueInfoProto {
        name: name.into(),
        r#type: Some(pb::TypeProto {
            value: Some(pb::type_proto::Value::TensorType(tensor)),
            ..Default::default()
        }),
        ..Default::default()
    }
}

/// Convolutions plain, dilated and grouped, pools, squeeze and excitation, a linear layer.
fn pools() -> pb::ModelProto {
    let mut net = Net::new(&[4, 3, 12, 12]);
    let w = net.weight("stem.weight", &[8, 3, 3, 3]);
    let b = net.weight("stem.bias", &[8]);
    let y = net.op("Conv", &["x", &w, &b], &[Ints("pads", &[1; 4]), Ints("kernel_shape", &[3, 3])]);
    let norm: Vec<String> = ["scale", "shift", "mean"].map(|n| net.weight(&format!("norm.{n}"), &[8])).into();
    let var = net.weight("norm.var", &[8]);
    let var = net.op("Abs", &[&var], &[]);
    let y =
        net.op("BatchNormalization", &[&y, &norm[0], &norm[1], &norm[2], &var], &[Float("epsilon", 0.01)]);
    let y = net.op("HardSwish", &[&y], &[]);
    let pool = [Ints("kernel_shape", &[3, 3]), Ints("strides", &[2, 2]), Ints("pads", &[1; 4])];
    let y = net.op("MaxPool", &[&y], &pool);
    let w = net.weight("grouped.weight", &[8, 4, 3, 3]);
    let grouped = [Int("group", 2), Ints("dilations", &[2, 2]), Ints("pads", &[2; 4])];
    let g = net.op("Conv", &[&y, &w], &grouped);
    let y = net.op("Add", &[&y, &g], &[]);
    let mean = net.op("GlobalAveragePool", &[&y], &[]);
    let w = net.weight("gate.weight", &[8, 8, 1, 1]);
    let gate = net.op("Conv", &[&mean, &w], &[]);
    let gate = net.op("Sigmoid", &[&gate], &[]);
    let y = net.op("Mul", &[&y, &gate], &[]);
    let y = net.op("AveragePool", &[&y], &[Ints("kernel_shape", &[2, 2]), Ints("strides", &[2, 2])]);
    let y = net.op("Flatten", &[&y], &[Int("axis", 1)]);
    let w = net.weight("last.weight", &[5, 72]);
    let b = net.weight("last.bias", &[5]);
    let y = net.op("Gemm", &[&y, &w, &b], &[Int("transB", 1), Float("alpha", 1.0)]);
    net.finish(&y, 5)
}

/// Patches by a strided convolution, a class token, attention, layer norm, GELU.
fn transformer() -> pb::ModelProto {
    let mut net = Net::new(&[4, 3, 8, 8]);
    let w = net.weight("patch.weight", &[8, 3, 4, 4]);
    let y = net.op("Conv", &["x", &w], &[Ints("strides", &[4, 4])]);
    let shape = net.ints(&[4, 8, 4]);
    let y = net.op("Reshape", &[&y, &shape], &[]);
    let y = net.op("Transpose", &[&y], &[Ints("perm", &[0, 2, 1])]);
    let token = net.weight("token", &[1, 1, 8]);
    let shape = net.ints(&[4, 1, 8]);
    let token = net.op("Expand", &[&token, &shape], &[]);
    let y = net.op("Concat", &[&token, &y], &[Int("axis", 1)]);
    let position = net.weight("position", &[1, 5, 8]);
    let y = net.op("Add", &[&y, &position], &[]);
    let (scale, shift) = (net.weight("norm.weight", &[8]), net.weight("norm.bias", &[8]));
    let n = net.op("LayerNormalization", &[&y, &scale, &shift], &[Int("axis", -1)]);
    let mut heads = vec![];
    for name in ["q", "k", "v"] {
        let w = net.weight(&format!("{name}.weight"), &[8, 8]);
        let h = net.op("MatMul", &[&n, &w], &[]);
        let shape = net.ints(&[0, 0, 2, -1]);
        let h = net.op("Reshape", &[&h, &shape], &[]);
        let perm: &[i64] = if name == "k" { &[0, 2, 3, 1] } else { &[0, 2, 1, 3] };
        heads.push(net.op("Transpose", &[&h], &[Ints("perm", perm)]));
    }
    let scores = net.op("MatMul", &[&heads[0], &heads[1]], &[]);
    let scores = net.op("Softmax", &[&scores], &[Int("axis", -1)]);
    let a = net.op("MatMul", &[&scores, &heads[2]], &[]);
    let a = net.op("Transpose", &[&a], &[Ints("perm", &[0, 2, 1, 3])]);
    let shape = net.ints(&[4, 5, 8]);
    let a = net.op("Reshape", &[&a, &shape], &[]);
    let y = net.op("Add", &[&y, &a], &[]);
    let e = net.op("Erf", &[&y], &[]);
    let y = net.op("Mul", &[&y, &e], &[]);
    let first = net.ints(&[0]);
    let y = net.op("Gather", &[&y, &first], &[Int("axis", 1)]);
    let axes = net.ints(&[1]);
    let y = net.op("Squeeze", &[&y, &axes], &[]);
    net.finish(&y, 8)
}

/// Shape arithmetic as exporters write it for a symbolic batch, and operators that make sizes.
fn shapes() -> pb::ModelProto {
    let mut net = Net::new(&[4, 6, 10]);
    let shape = net.op("Shape", &["x"], &[]);
    let zero = net.ints(&[0]);
    let batch = net.op("Gather", &[&shape, &zero], &[Int("axis", 0)]);
    let minus = net.ints(&[-1]);
    let flat = net.op("Concat", &[&batch, &minus], &[Int("axis", 0)]);
    let pads = net.ints(&[0, 0, 1, 0, 0, 1]);
    let y = net.op("Pad", &["x", &pads], &[Text("mode", "constant")]);
    let (start, end, axis, step) = (net.ints(&[1]), net.ints(&[i64::MAX]), net.ints(&[2]), net.ints(&[2]));
    let y = net.op("Slice", &[&y, &start, &end, &axis, &step], &[]);
    let w = net.weight("conv.weight", &[6, 3, 3]);
    let y = net.op("Conv", &[&y, &w], &[Int("group", 2), Ints("pads", &[1, 1])]);
    let repeats = net.ints(&[1, 1, 2]);
    let y = net.op("Tile", &[&y, &repeats], &[]);
    let ones = net.ints(&[1, 6, 1]);
    // tract makes doubles where no value is given.
    let filled = net.op("ConstantOfShape", &[&ones], &[]);
    let filled = net.op("Cast", &[&filled], &[Int("to", 1)]);
    let y = net.op("Add", &[&y, &filled], &[]);
    let y = net.op("Reshape", &[&y, &flat], &[]);
    let w = net.weight("mix.weight", &[7, 72]);
    let y = net.op("Einsum", &[&y, &w], &[Text("equation", "bi,oi->bo")]);
    let axes = net.ints(&[1]);
    let mean = net.op("ReduceMean", &[&y], &[Ints("axes", &[1]), Int("keepdims", 1)]);
    let sum = net.op("ReduceSum", &[&y, &axes], &[Int("keepdims", 1)]);
    let y = net.op("Sub", &[&y, &mean], &[]);
    let y = net.op("Div", &[&y, &sum], &[]);
    net.finish(&y, 7)
}

/// Elementwise operators one after another, and a split.
fn elements() -> pb::ModelProto {
    let mut net = Net::new(&[4, 8]);
    let w = net.weight("first.weight", &[8, 8]);
    let mut y = net.op("MatMul", &["x", &w], &[]);
    for op in ["Relu", "Sigmoid", "Tanh", "Exp", "Softplus", "LeakyRelu", "Elu", "HardSigmoid", "Identity"] {
        y = net.op(op, &[&y], &[]);
    }
    let half = net.op("Sqrt", &[&y], &[]);
    net.count += 1;
    let mut split = node("Split", &[&half], "left", &[Int("axis", 1)]);
    split.output.push("right".into());
    net.graph.node.push(split);
    let y = net.op("Max", &["left", "right"], &[]);
    let w = net.weight("last.weight", &[4, 6]);
    let y = net.op("MatMul", &[&y, &w], &[]);
    net.finish(&y, 6)
}

/// The encoded seeds, as a fuzzer's corpus.
pub fn corpus() -> Vec<(String, Vec<u8>)> {
    all().into_iter().map(|seed| (seed.name.replace(' ', "-"), seed.model.encode_to_vec())).collect()
}
