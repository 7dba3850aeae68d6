//! Plain constructors for the protobuf messages of ONNX, whose generated types are all options.

use ndarray::ArrayD;
use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;

/// An integer attribute.
pub fn int(name: &str, value: i64) -> pb::AttributeProto {
    attribute(name, pb::attribute_proto::AttributeType::Int, |a| a.i = value)
}

/// A list-of-integers attribute.
pub fn ints(name: &str, values: Vec<i64>) -> pb::AttributeProto {
    attribute(name, pb::attribute_proto::AttributeType::Ints, |a| a.ints = values)
}

/// A float attribute.
pub fn float(name: &str, value: f32) -> pb::AttributeProto {
    attribute(name, pb::attribute_proto::AttributeType::Float, |a| a.f = value)
}

/// A string attribute.
pub fn string(name: &str, value: &str) -> pb::AttributeProto {
    attribute(name, pb::attribute_proto::AttributeType::String, |a| a.s = value.as_bytes().to_vec())
}

fn attribute(
    name: &str,
    kind: pb::attribute_proto::AttributeType,
    fill: impl FnOnce(&mut pb::AttributeProto),
) -> pb::AttributeProto {
    let mut attribute = pb::AttributeProto { name: name.into(), r#type: kind as i32, ..Default::default() };
    fill(&mut attribute);
    attribute
}

/// A float tensor in row-major raw little-endian form.
pub fn tensor(name: &str, value: &ArrayD<f32>) -> pb::TensorProto {
    pb::TensorProto {
        name: name.into(),
        dims: value.shape().iter().map(|&d| d as i64).collect(),
        data_type: DataType::Float as i32,
        raw_data: value.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ..Default::default()
    }
}

/// A one-dimensional integer tensor.
pub fn int_tensor(name: &str, values: &[i64]) -> pb::TensorProto {
    pb::TensorProto {
        name: name.into(),
        dims: vec![values.len() as i64],
        data_type: DataType::Int64 as i32,
        raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ..Default::default()
    }
}

/// A tensor of truth values.
pub fn bool_tensor(name: &str, shape: &[usize], values: &[bool]) -> pb::TensorProto {
    pb::TensorProto {
        name: name.into(),
        dims: shape.iter().map(|&d| d as i64).collect(),
        data_type: DataType::Bool as i32,
        raw_data: values.iter().map(|&v| u8::from(v)).collect(),
        ..Default::default()
    }
}

/// A float value of fixed shape.
pub fn value_info(name: &str, shape: &[usize]) -> pb::ValueInfoProto {
    info(name, shape.iter().map(|&d| dim(d)).collect())
}

/// A float value whose leading dimension is the symbol `batch`.
pub fn symbolic_value_info(name: &str, batch: &str, sample: &[usize]) -> pb::ValueInfoProto {
    use pb::tensor_shape_proto::dimension::Value;
    let symbol = pb::tensor_shape_proto::Dimension {
        denotation: String::new(),
        value: Some(Value::DimParam(batch.into())),
    };
    info(name, std::iter::once(symbol).chain(sample.iter().map(|&d| dim(d))).collect())
}

fn dim(extent: usize) -> pb::tensor_shape_proto::Dimension {
    pb::tensor_shape_proto::Dimension {
        denotation: String::new(),
        value: Some(pb::tensor_shape_proto::dimension::Value::DimValue(extent as i64)),
    }
}

fn info(name: &str, dim: Vec<pb::tensor_shape_proto::Dimension>) -> pb::ValueInfoProto {
    let tensor = pb::type_proto::Tensor {
        elem_type: DataType::Float as i32,
        shape: Some(pb::TensorShapeProto { dim }),
    };
    pb::ValueInfoProto {
        name: name.into(),
        doc_string: String::new(),
        r#type: Some(pb::TypeProto {
            denotation: String::new(),
            value: Some(pb::type_proto::Value::TensorType(tensor)),
        }),
    }
}

/// The graph of `body` as a function of `domain`, which has constants as nodes and no types.
pub fn function(body: pb::ModelProto, domain: &str, attribute: Vec<String>) -> Option<pb::FunctionProto> {
    let graph = body.graph?;
    let constants = graph.initializer.into_iter().map(|tensor| pb::NodeProto {
        name: tensor.name.clone(),
        op_type: "Constant".into(),
        output: vec![tensor.name.clone()],
        attribute: vec![attribute_of_tensor("value", tensor)],
        ..Default::default()
    });
    Some(pb::FunctionProto {
        name: Some(graph.name),
        input: graph.input.into_iter().map(|i| i.name).collect(),
        output: graph.output.into_iter().map(|o| o.name).collect(),
        attribute,
        node: constants.chain(graph.node).collect(),
        opset_import: body.opset_import,
        domain: Some(domain.into()),
        ..Default::default()
    })
}

fn attribute_of_tensor(name: &str, tensor: pb::TensorProto) -> pb::AttributeProto {
    attribute(name, pb::attribute_proto::AttributeType::Tensor, |a| a.t = Some(tensor))
}

/// A model of one graph in the default operator set.
pub fn model(graph: pb::GraphProto, opset: i64, ir_version: i64) -> pb::ModelProto {
    pb::ModelProto {
        ir_version,
        opset_import: vec![pb::OperatorSetIdProto { domain: String::new(), version: opset }],
        producer_name: "sedge".into(),
        producer_version: env!("CARGO_PKG_VERSION").into(),
        graph: Some(graph),
        ..Default::default()
    }
}
