//! Reductions, and what normalises a row.

use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::array::CumSum;
use tract_onnx::tract_core::ops::nn::{Reduce, Reducer, RmsNorm, Softmax, SoftmaxKind};

use super::{Writer, list, proto};

impl Writer<'_> {
    pub(super) fn reduce(&mut self, op: &Reduce, inputs: &[String]) -> TractResult<String> {
        let [x] = inputs else { bail!("a reduction of {} values", inputs.len()) };
        Ok(match op.reducer {
            Reducer::Sum => self.reduction("ReduceSum", x, &op.axes),
            Reducer::Max => self.reduction("ReduceMax", x, &op.axes),
            Reducer::Min => self.reduction("ReduceMin", x, &op.axes),
            Reducer::Prod => self.reduction("ReduceProd", x, &op.axes),
            Reducer::MeanOfSquares => {
                let square = self.square(x);
                self.reduction("ReduceMean", &square, &op.axes)
            }
            ref reducer => bail!("no ONNX form for a reduction by {reducer:?}"),
        })
    }

    /// In opset 17 the axes of a sum are an input, those of its siblings an attribute.
    fn reduction(&mut self, op: &str, x: &str, axes: &[usize]) -> String {
        let keep = proto::int("keepdims", 1);
        if op == "ReduceSum" {
            let axes = self.ints(&list(axes));
            self.node(op, &[x.into(), axes], vec![keep])
        } else {
            self.node(op, &[x.into()], vec![keep, proto::ints("axes", list(axes))])
        }
    }

    pub(super) fn cumulative_sum(&mut self, op: &CumSum, inputs: &[String]) -> TractResult<String> {
        let [x] = inputs else { bail!("a cumulative sum of {} values", inputs.len()) };
        let axis = self.constant(&tensor0(op.axis as i64))?;
        let flags = vec![
            proto::int("exclusive", i64::from(op.exclusive)),
            proto::int("reverse", i64::from(op.reverse)),
        ];
        Ok(self.node("CumSum", &[x.clone(), axis], flags))
    }

    /// Over several axes, which the standard operator does not do, in plain arithmetic.
    pub(super) fn softmax(&mut self, op: &Softmax, inputs: &[String]) -> TractResult<String> {
        let [x] = inputs else { bail!("a softmax of {} values", inputs.len()) };
        ensure!(op.quant_output_dt.is_none(), "no ONNX form for a quantised softmax");
        let logarithm = op.kind == SoftmaxKind::LogSoftmax;
        if let [axis] = *op.axes.as_slice() {
            let name = if logarithm { "LogSoftmax" } else { "Softmax" };
            return Ok(self.node(name, inputs, vec![proto::int("axis", axis as i64)]));
        }
        let most = self.reduction("ReduceMax", x, &op.axes);
        let below = self.node("Sub", &[x.clone(), most], vec![]);
        let weight = self.node("Exp", std::slice::from_ref(&below), vec![]);
        let total = self.reduction("ReduceSum", &weight, &op.axes);
        if logarithm {
            let total = self.node("Log", &[total], vec![]);
            return Ok(self.node("Sub", &[below, total], vec![]));
        }
        Ok(self.node("Div", &[weight, total], vec![]))
    }

    pub(super) fn rms_norm(&mut self, op: &RmsNorm, inputs: &[String]) -> TractResult<String> {
        let [x] = inputs else { bail!("a normalisation of {} values", inputs.len()) };
        let square = self.square(x);
        let mean = self.reduction("ReduceMean", &square, &[op.axis]);
        let steadied = self.with_number("Add", &mean, op.eps.cast_to_scalar::<f32>()?);
        let root = self.node("Sqrt", &[steadied], vec![]);
        let inverse = self.node("Reciprocal", &[root], vec![]);
        Ok(self.node("Mul", &[x.clone(), inverse], vec![]))
    }
}
