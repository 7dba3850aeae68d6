//! Numbers of a file as the `f32` that everything here computes in, and back: exporters also store
//! doubles and halves.

use ndarray::{ArrayD, IxDyn};
use tract_onnx::pb;
use tract_onnx::pb::tensor_proto::DataType;
use tract_onnx::prelude::f16;

use crate::onnx::proto;

/// Whether a data type of ONNX is one of the floating-point types read.
pub(super) fn is_float(data_type: i32) -> bool {
    [DataType::Float, DataType::Double, DataType::Float16].iter().any(|&t| t as i32 == data_type)
}

/// Shape of a tensor that was checked when it was read.
pub(super) fn shape(tensor: &pb::TensorProto) -> Vec<usize> {
    tensor.dims.iter().map(|&d| usize::try_from(d).unwrap_or(0)).collect()
}

/// The values of a floating-point tensor as `f32`, `None` for other types.
pub(super) fn array(tensor: &pb::TensorProto) -> Option<ArrayD<f32>> {
    let raw = &tensor.raw_data;
    let values: Vec<f32> = match DataType::try_from(tensor.data_type).ok()? {
        DataType::Float if raw.is_empty() => tensor.float_data.clone(),
        DataType::Float => raw.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect(),
        DataType::Double if raw.is_empty() => tensor.double_data.iter().map(|&v| v as f32).collect(),
        DataType::Double => raw.as_chunks::<8>().0.iter().map(|b| f64::from_le_bytes(*b) as f32).collect(),
        // Halves without raw data are kept as the bits of their integers.
        DataType::Float16 if raw.is_empty() => {
            tensor.int32_data.iter().map(|&v| f16::from_bits(v as u16).to_f32()).collect()
        }
        DataType::Float16 => {
            raw.as_chunks::<2>().0.iter().map(|b| f16::from_bits(u16::from_le_bytes(*b)).to_f32()).collect()
        }
        _ => return None,
    };
    ArrayD::from_shape_vec(IxDyn(&shape(tensor)), values).ok()
}

/// `values` as the tensor `name` of a floating-point type.
pub(super) fn tensor(name: &str, values: &ArrayD<f32>, data_type: i32) -> pb::TensorProto {
    let mut tensor = proto::tensor(name, values);
    if data_type == DataType::Double as i32 {
        tensor.raw_data = values.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect();
    } else if data_type == DataType::Float16 as i32 {
        tensor.raw_data = values.iter().flat_map(|&v| f16::from_f32(v).to_bits().to_le_bytes()).collect();
    } else {
        return tensor;
    }
    tensor.data_type = data_type;
    tensor
}

/// Makes doubles and halves of `graph` floats: weights, constants, inputs, outputs and casts. Gives how
/// many tensors were changed.
pub(super) fn to_single(graph: &mut pb::GraphProto) -> usize {
    let mut changed = 0;
    let attributes = graph.node.iter_mut().flat_map(|n| &mut n.attribute);
    let tensors = attributes.flat_map(|a| a.t.iter_mut().chain(&mut a.tensors));
    for tensor in graph.initializer.iter_mut().chain(tensors) {
        if !is_wide(tensor.data_type) {
            continue;
        }
        if let Some(values) = array(tensor) {
            *tensor = proto::tensor(&tensor.name, &values);
            changed += 1;
        }
    }
    for info in graph.input.iter_mut().chain(&mut graph.output) {
        let kind = info.r#type.as_mut().and_then(|t| t.value.as_mut());
        if let Some(pb::type_proto::Value::TensorType(tensor)) = kind
            && is_wide(tensor.elem_type)
        {
            tensor.elem_type = DataType::Float as i32;
        }
    }
    for node in graph.node.iter_mut().filter(|n| n.op_type == "Cast") {
        for to in node.attribute.iter_mut().filter(|a| a.name == "to") {
            let wide = i32::try_from(to.i).is_ok_and(is_wide);
            if wide {
                to.i = DataType::Float as i64;
            }
        }
    }
    changed
}

fn is_wide(data_type: i32) -> bool {
    is_float(data_type) && data_type != DataType::Float as i32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_floating_type_is_read_and_written() {
        let values = ndarray::arr2(&[[1.0_f32, -0.5], [0.25, 3.0]]).into_dyn();
        for (data_type, width) in [(DataType::Float, 4), (DataType::Double, 8), (DataType::Float16, 2)] {
            let stored = tensor("w", &values, data_type as i32);
            assert_eq!((stored.data_type, stored.raw_data.len()), (data_type as i32, 4 * width));
            assert_eq!(array(&stored).unwrap(), values);
        }
        // The bits of 1, -0.5, 0.25 and 3 as halves.
        let typed = pb::TensorProto {
            dims: vec![2, 2],
            data_type: DataType::Float16 as i32,
            int32_data: vec![0x3c00, 0xb800, 0x3400, 0x4200],
            ..Default::default()
        };
        assert_eq!(array(&typed).unwrap(), values);
        let mut graph = pb::GraphProto { initializer: vec![typed], ..Default::default() };
        assert_eq!(to_single(&mut graph), 1);
        assert_eq!(graph.initializer[0].data_type, DataType::Float as i32);
        assert_eq!(array(&graph.initializer[0]).unwrap(), values);
    }
}
