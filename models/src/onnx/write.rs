//! From tract's typed graph to ONNX. Every operator that decluttering or differentiation leaves has
//! one arm here, in the plainest standard form; one without an arm is an error that names the node.
//!
//! A channels-last convolution is written as the standard channels-first operator between two
//! transpositions. A runtime that prefers channels last (ours does) cancels them when it loads.

use std::collections::{HashMap, HashSet};

use tract_onnx::pb;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops;
use tract_onnx::tract_core::ops::array::{Gather, MultiBroadcastTo, Pad, PadMode, Slice, TypedConcat};
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat};
use tract_onnx::tract_core::ops::downsample::Downsample;
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, Softmax};

use super::build::OPSET;
use super::proto;

const IR_VERSION: i64 = 8;

/// Writes `model` as the ONNX graph `name`, its outputs called `outputs` in order. Inputs keep the
/// names of their source nodes.
pub(crate) fn write(model: &TypedModel, name: &str, outputs: &[String]) -> TractResult<pb::ModelProto> {
    let graph = pb::GraphProto { name: name.into(), ..Default::default() };
    let inputs = model.input_outlets()?.iter().map(|input| model.node(input.node).name.clone());
    let taken = inputs.chain(outputs.iter().cloned()).collect();
    let mut writer = Writer { model, graph, names: HashMap::new(), next: 0, taken };
    for input in model.input_outlets()? {
        let name = model.node(input.node).name.clone();
        let info = proto::value_info(&name, &writer.shape(*input)?);
        writer.graph.input.push(info);
        writer.names.insert(*input, name);
    }
    for id in model.eval_order()? {
        let outlet = OutletId::new(id, 0);
        if writer.names.contains_key(&outlet) {
            continue;
        }
        let node = model.node(id);
        let value = writer
            .operator(node, outlet)
            .with_context(|| format!("writing node `{}` ({})", node.name, node.op.name()))?;
        writer.names.insert(outlet, value);
    }
    for (outlet, name) in model.output_outlets()?.iter().zip(outputs) {
        let info = proto::value_info(name, &writer.shape(*outlet)?);
        writer.graph.output.push(info);
        let value = writer.names.get(outlet).cloned().context("an output that nothing computes")?;
        writer.push("Identity", vec![value], vec![], name.clone());
    }
    Ok(proto::model(writer.graph, OPSET, IR_VERSION))
}

struct Writer<'m> {
    model: &'m TypedModel,
    graph: pb::GraphProto,
    names: HashMap<OutletId, String>,
    next: usize,
    /// Names of inputs and outputs, which a stranger's encoder chose and which no value here may repeat.
    taken: HashSet<String>,
}

impl Writer<'_> {
    fn shape(&self, outlet: OutletId) -> TractResult<Vec<usize>> {
        let shape = &self.model.outlet_fact(outlet)?.shape;
        Ok(shape.as_concrete().with_context(|| format!("a symbolic shape {shape:?}"))?.to_vec())
    }

    fn fresh(&mut self, stem: &str) -> String {
        loop {
            self.next += 1;
            let name = format!("{stem}_{}", self.next);
            if !self.taken.contains(&name) {
                return name;
            }
        }
    }

    fn push(&mut self, op: &str, inputs: Vec<String>, attributes: Vec<pb::AttributeProto>, output: String) {
        self.graph.node.push(pb::NodeProto {
            name: output.clone(),
            op_type: op.into(),
            input: inputs,
            output: vec![output],
            attribute: attributes,
            ..Default::default()
        });
    }

    fn node(&mut self, op: &str, inputs: &[String], attributes: Vec<pb::AttributeProto>) -> String {
        let output = self.fresh(op);
        self.push(op, inputs.to_vec(), attributes, output.clone());
        output
    }

    fn ints(&mut self, values: &[i64]) -> String {
        let name = self.fresh("ints");
        self.graph.initializer.push(proto::int_tensor(&name, values));
        name
    }

    fn constant(&mut self, value: &Tensor) -> TractResult<String> {
        let name = self.fresh("constant");
        let view = value.try_as_plain_ram()?;
        let tensor = if value.datum_type() == f32::datum_type() {
            let values = view.as_slice::<f32>()?.to_vec();
            proto::tensor(&name, &ndarray::ArrayD::from_shape_vec(value.shape(), values)?)
        } else {
            let cast = value.cast_to::<i64>()?;
            let mut tensor = proto::int_tensor(&name, cast.try_as_plain_ram()?.as_slice::<i64>()?);
            tensor.dims = value.shape().iter().map(|&d| d as i64).collect();
            tensor
        };
        self.graph.initializer.push(tensor);
        Ok(name)
    }

    fn transpose(&mut self, value: &str, permutation: Vec<i64>) -> String {
        self.node("Transpose", &[value.into()], vec![proto::ints("perm", permutation)])
    }

    fn reshape(&mut self, value: &str, shape: &[usize]) -> String {
        let shape = self.ints(&shape.iter().map(|&d| d as i64).collect::<Vec<_>>());
        self.node("Reshape", &[value.into(), shape], vec![])
    }

    fn operator(&mut self, node: &TypedNode, outlet: OutletId) -> TractResult<String> {
        let inputs = node
            .inputs
            .iter()
            .map(|input| self.names.get(input).cloned().context("an input that nothing computes"))
            .collect::<TractResult<Vec<String>>>()?;
        let op = node.op.as_op();
        if let Some(op) = op.downcast_ref::<ops::konst::Const>() {
            self.constant(op.val())
        } else if let Some(op) = op.downcast_ref::<TypedBinOp>() {
            self.pair(op, &inputs)
        } else if let Some(op) = op.downcast_ref::<ElementWiseOp>() {
            self.element(op, &inputs)
        } else if let Some(op) = op.downcast_ref::<Reduce>() {
            self.reduce(op, &inputs)
        } else if let Some(op) = op.downcast_ref::<EinSum>() {
            self.einsum(op, &inputs, outlet)
        } else if let Some(op) = op.downcast_ref::<Conv>() {
            self.convolution(op, &inputs, node, outlet)
        } else {
            self.movement(op, &inputs, outlet)
        }
    }

    fn pair(&mut self, op: &TypedBinOp, inputs: &[String]) -> TractResult<String> {
        match op.0.name() {
            name @ ("Add" | "Sub" | "Mul" | "Div" | "Max" | "Min" | "Pow") => {
                Ok(self.node(name, inputs, vec![]))
            }
            name => bail!("no ONNX form for {name} of two values"),
        }
    }

    fn element(&mut self, op: &ElementWiseOp, inputs: &[String]) -> TractResult<String> {
        Ok(match &*op.0.name() {
            name @ ("Exp" | "Sqrt" | "Neg" | "Tanh" | "Sigmoid" | "Erf" | "Abs") => {
                self.node(name, inputs, vec![])
            }
            "Ln" => self.node("Log", inputs, vec![]),
            "Recip" => self.node("Reciprocal", inputs, vec![]),
            "Rsqrt" => {
                let root = self.node("Sqrt", inputs, vec![]);
                self.node("Reciprocal", &[root], vec![])
            }
            "Square" => self.square(inputs)?,
            name => bail!("no ONNX form for {name}"),
        })
    }

    fn square(&mut self, inputs: &[String]) -> TractResult<String> {
        let x = inputs.first().context("a square of nothing")?;
        Ok(self.node("Mul", &[x.clone(), x.clone()], vec![]))
    }

    fn reduce(&mut self, op: &Reduce, inputs: &[String]) -> TractResult<String> {
        let axes: Vec<i64> = op.axes.iter().map(|&a| a as i64).collect();
        let keep = proto::int("keepdims", 1);
        // In opset 17 the axes of a sum are an input, those of its siblings an attribute.
        Ok(match op.reducer {
            Reducer::Sum => {
                let axes = self.ints(&axes);
                self.node("ReduceSum", &[inputs[0].clone(), axes], vec![keep])
            }
            Reducer::Max => self.node("ReduceMax", inputs, vec![keep, proto::ints("axes", axes)]),
            Reducer::Min => self.node("ReduceMin", inputs, vec![keep, proto::ints("axes", axes)]),
            Reducer::MeanOfSquares => {
                let square = self.square(inputs)?;
                self.node("ReduceMean", &[square], vec![keep, proto::ints("axes", axes)])
            }
            ref reducer => bail!("no ONNX form for a reduction by {reducer:?}"),
        })
    }

    fn einsum(&mut self, op: &EinSum, inputs: &[String], outlet: OutletId) -> TractResult<String> {
        // tract names axes by any character; ONNX wants letters.
        let letters: HashMap<char, char> = op
            .axes
            .iter_all_axes()
            .enumerate()
            .map(|(i, axis)| (axis.repr, char::from(b'a' + (i as u8).min(25))))
            .collect();
        ensure!(letters.len() <= 26, "a product over {} axes", letters.len());
        let equation: String =
            op.axes.to_string().chars().map(|c| letters.get(&c).copied().unwrap_or(c)).collect();
        let (left, right) = equation.split_once("->").context("an equation without an arrow")?;
        // tract may add axes of extent one to the output, which ONNX cannot name.
        let kept: String = right.chars().filter(|c| left.contains(*c)).collect();
        let y = self.node("Einsum", inputs, vec![proto::string("equation", &format!("{left}->{kept}"))]);
        if kept.len() == right.len() {
            return Ok(y);
        }
        let shape = self.shape(outlet)?;
        Ok(self.reshape(&y, &shape))
    }

    fn convolution(
        &mut self,
        op: &Conv,
        inputs: &[String],
        node: &TypedNode,
        outlet: OutletId,
    ) -> TractResult<String> {
        let spec = &op.pool_spec;
        let [x, kernel, bias] = inputs else { bail!("a convolution of {} inputs", inputs.len()) };
        let x_shape = self.shape(node.inputs[0])?;
        let extent: Vec<usize> = spec.data_format.shape(&x_shape)?.hw_dims().to_vec();
        let spatial = extent.len();
        let rank = spatial + 2;
        let last = spec.data_format.c_is_last();
        let axes = |range: std::ops::Range<usize>| range.map(|a| a as i64);
        let mut x = x.clone();
        // Decluttering drops a batch axis of extent one, which the standard operator wants back.
        if !spec.data_format.has_n() {
            let with_batch: Vec<usize> = std::iter::once(1).chain(x_shape.iter().copied()).collect();
            x = self.reshape(&x, &with_batch);
        }
        if last {
            let to_first = [0, rank as i64 - 1].into_iter().chain(axes(1..rank - 1)).collect();
            x = self.transpose(&x, to_first);
        }
        let kernel = match op.kernel_fmt {
            KernelFormat::OIHW => kernel.clone(),
            KernelFormat::HWIO => {
                ensure!(op.group == spec.input_channels, "a dense kernel in {:?} order", op.kernel_fmt);
                let perm = axes(spatial..spatial + 2).chain(axes(0..spatial)).collect();
                self.transpose(kernel, perm)
            }
            KernelFormat::OHWI => bail!("a kernel in {:?} order", op.kernel_fmt),
        };
        let padding = spec.computed_padding(&extent);
        let before = padding.iter().map(|p| p.pad_before as i64);
        let pads = before.chain(padding.iter().map(|p| p.pad_after as i64)).collect();
        let list = |values: &[usize]| values.iter().map(|&v| v as i64).collect::<Vec<_>>();
        let attributes = vec![
            proto::ints("kernel_shape", list(&spec.kernel_shape)),
            proto::ints("strides", list(&spec.strides())),
            proto::ints("dilations", list(&spec.dilations())),
            proto::ints("pads", pads),
            proto::int("group", op.group as i64),
        ];
        let mut operands = vec![x, kernel];
        if !self.shape(node.inputs[2])?.is_empty() {
            operands.push(bias.clone());
        }
        let mut y = self.node("Conv", &operands, attributes);
        if last {
            let to_last = [0].into_iter().chain(axes(2..rank)).chain([1]).collect();
            y = self.transpose(&y, to_last);
        }
        if !spec.data_format.has_n() {
            let shape = self.shape(outlet)?;
            y = self.reshape(&y, &shape);
        }
        Ok(y)
    }

    fn movement(&mut self, op: &dyn Op, inputs: &[String], outlet: OutletId) -> TractResult<String> {
        let x = inputs.first().context("an operator without inputs")?.clone();
        let shape = self.shape(outlet)?;
        if let Some(op) = op.downcast_ref::<AxisOp>() {
            let AxisOp::Move(from, to) = *op else { return Ok(self.reshape(&x, &shape)) };
            let mut permutation: Vec<i64> = (0..shape.len() as i64).collect();
            let axis = permutation.remove(from);
            permutation.insert(to, axis);
            Ok(self.transpose(&x, permutation))
        } else if let Some(op) = op.downcast_ref::<Pad>() {
            ensure!(matches!(op.mode, PadMode::Constant(_)), "no ONNX form for padding by {:?}", op.mode);
            let ends = op.pads.iter().map(|p| p.0 as i64).chain(op.pads.iter().map(|p| p.1 as i64));
            let pads = self.ints(&ends.collect::<Vec<_>>());
            Ok(self.node("Pad", &[x, pads], vec![]))
        } else if let Some(op) = op.downcast_ref::<Slice>() {
            Ok(self.slice(x, op.axis, op.start.to_i64()?, op.end.to_i64()?, 1))
        } else if let Some(op) = op.downcast_ref::<Downsample>() {
            Ok(self.slice(x, op.axis, op.modulo as i64, i64::from(i32::MAX), op.stride as i64))
        } else if let Some(op) = op.downcast_ref::<TypedConcat>() {
            Ok(self.node("Concat", inputs, vec![proto::int("axis", op.axis as i64)]))
        } else if let Some(op) = op.downcast_ref::<Gather>() {
            Ok(self.node("Gather", inputs, vec![proto::int("axis", op.axis as i64)]))
        } else if op.is::<MultiBroadcastTo>() {
            let shape = self.ints(&shape.iter().map(|&d| d as i64).collect::<Vec<_>>());
            Ok(self.node("Expand", &[x, shape], vec![]))
        } else if let Some(op) = op.downcast_ref::<Softmax>() {
            let [axis] = *op.axes.as_slice() else { bail!("a softmax over axes {:?}", op.axes) };
            Ok(self.node("Softmax", &[x], vec![proto::int("axis", axis as i64)]))
        } else {
            bail!("no ONNX form for {}", op.name())
        }
    }

    fn slice(&mut self, x: String, axis: usize, start: i64, end: i64, step: i64) -> String {
        let operands = [start, end, axis as i64, step].map(|v| self.ints(&[v]));
        self.node("Slice", &[&[x], operands.as_slice()].concat(), vec![])
    }
}
