//! The rewrites that a graph goes through before it runs, channels last and rows widened, change no
//! result: random small graphs of the operators that they treat are run as they are and rewritten.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sedge_kernels::Threads;
use sedge_models::layout::channels_last;
use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::change_axes::AxisOp;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat, PaddingSpec, PoolSpec};
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::ops::math;
use tract_onnx::tract_core::ops::nn::{DataFormat, Reduce, Reducer, sigmoid};

use crate::kernels::bind;
use crate::rows::widen;

/// A graph that grows at random. Every value is kept, and later operators read any of them.
struct Growing {
    model: TypedModel,
    values: Vec<OutletId>,
    /// Whether axes were exchanged, so that what was a channel may be a position now.
    moved: bool,
    rng: ChaCha8Rng,
}

impl Growing {
    /// One input `[batch, channels, ...]` with one or two spatial axes.
    fn new(seed: u64) -> Self {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let channels = *[2, 3, 8, 24, 32].choose(&mut rng).unwrap();
        let mut shape = tvec![rng.random_range(1..3), channels];
        (0..rng.random_range(1..3)).for_each(|_| shape.push(rng.random_range(3..9)));
        let mut model = TypedModel::default();
        let source = model.add_source("x", f32::fact(&shape)).unwrap();
        Self { model, values: vec![source], moved: false, rng }
    }

    fn shape(&self, o: OutletId) -> TVec<usize> {
        self.model.outlet_fact(o).unwrap().shape.as_concrete().unwrap().into()
    }

    fn add(&mut self, op: impl Into<Box<dyn TypedOp>>, inputs: &[OutletId]) {
        let name = format!("node{}", self.model.nodes.len());
        let output = self.model.wire_node(name, op, inputs).unwrap()[0];
        self.values.push(output);
    }

    fn constant(&mut self, shape: &[usize]) -> OutletId {
        let name = format!("constant{}", self.model.nodes.len());
        let values = draw(shape, &mut self.rng);
        self.model.add_const(name, values).unwrap()
    }

    fn grow(&mut self) {
        let x = *self.values.choose(&mut self.rng).unwrap();
        match self.rng.random_range(0..6) {
            0 | 1 => self.convolution(x),
            2 => {
                let op: ElementWiseOp = if self.rng.random() { math::tanh() } else { sigmoid() };
                self.add(op, &[x]);
            }
            3 => {
                let rank = self.shape(x).len();
                let axes: TVec<usize> = (1..rank).filter(|_| self.rng.random()).collect();
                self.add(Reduce::new(axes, Reducer::Sum), &[x]);
            }
            4 => {
                let rank = self.shape(x).len();
                let (from, to) = if self.rng.random() { (1, rank - 1) } else { (rank - 1, 1) };
                self.add(AxisOp::Move(from, to), &[x]);
                self.moved = true;
            }
            _ => self.pair(x),
        }
    }

    fn convolution(&mut self, x: OutletId) {
        let shape = self.shape(x);
        let (channels, extent) = (shape[1], &shape[2..]);
        let is_depthwise = self.rng.random();
        let out = if is_depthwise { channels } else { self.rng.random_range(1..5) };
        let group = if is_depthwise { channels } else { 1 };
        let side = if extent.iter().all(|&d| d >= 3) && self.rng.random() { 3 } else { 1 };
        let axes = extent.len();
        // tract takes the stride of a kernel of one out of the convolution, and then fails to put it
        // into another that has the axis as channels (an index out of bounds in 0.23.9).
        let stride = if side == 1 && self.moved { 1 } else { self.rng.random_range(1..3) };
        let mut kernel = vec![out, channels / group];
        kernel.resize(2 + axes, side);
        let op = Conv {
            pool_spec: PoolSpec {
                data_format: DataFormat::NCHW,
                kernel_shape: tvec![side; axes],
                padding: PaddingSpec::Explicit(tvec![side / 2; axes], tvec![side / 2; axes]),
                dilations: None,
                strides: Some(tvec![stride; axes]),
                input_channels: channels,
                output_channels: out,
            },
            kernel_fmt: KernelFormat::OIHW,
            group,
            q_params: None,
        };
        let (kernel, bias) = (self.constant(&kernel), self.constant(&[out]));
        self.add(op, &[x, kernel, bias]);
    }

    /// `x` and another value that it goes with, or a constant that is stretched along some axes.
    fn pair(&mut self, x: OutletId) {
        let shape = self.shape(x);
        let goes = |a: &[usize]| {
            a.len() == shape.len() && a.iter().zip(&shape).all(|(a, b)| a == b || *a == 1 || *b == 1)
        };
        let partners: Vec<OutletId> =
            self.values.iter().copied().filter(|o| *o != x && goes(&self.shape(*o))).collect();
        let other = match partners.choose(&mut self.rng) {
            Some(&partner) if self.rng.random() => partner,
            _ => {
                let stretched: Vec<usize> =
                    shape.iter().map(|&d| if self.rng.random() { 1 } else { d }).collect();
                self.constant(&stretched)
            }
        };
        let op = match self.rng.random_range(0..3) {
            0 => math::add(),
            1 => math::mul(),
            _ => math::max(),
        };
        let inputs = if self.rng.random() { [x, other] } else { [other, x] };
        self.add(op, &inputs);
    }

    /// A graph of some operators, and an input for it. The last value and one other are its outputs.
    fn grown(seed: u64) -> (TypedModel, Tensor) {
        let mut this = Self::new(seed);
        (0..this.rng.random_range(3..9)).for_each(|_| this.grow());
        let outputs = [*this.values.last().unwrap(), *this.values.choose(&mut this.rng).unwrap()];
        this.model.select_output_outlets(&outputs).unwrap();
        let input = draw(&this.shape(this.values[0]), &mut this.rng);
        (this.model, input)
    }
}

fn draw(shape: &[usize], rng: &mut ChaCha8Rng) -> Tensor {
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.random_range(-1.0..1.0f32)).collect();
    Tensor::from_shape(shape, &values).unwrap()
}

/// Shapes and values of the outputs; optimised as `Graph` does it, or not at all.
fn run(mut model: TypedModel, input: &Tensor, optimised: bool) -> Vec<(Vec<usize>, Vec<f32>)> {
    if optimised {
        model.optimize().unwrap();
    }
    let outputs = model.into_runnable().unwrap().run(tvec![input.clone().into_tvalue()]).unwrap();
    let values = |t: &TValue| t.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap().to_vec();
    outputs.iter().map(|t| (t.shape().to_vec(), values(t))).collect()
}

/// Checks `rewrite` over many graphs; gives how many came out with another number of nodes.
fn check(rewrite: impl Fn(&TypedModel) -> TractResult<TypedModel>) -> usize {
    let mut changed = 0;
    for seed in 0..300 {
        let (model, input) = Growing::grown(seed);
        let rewritten = rewrite(&model).unwrap();
        changed += usize::from(rewritten.nodes.len() != model.nodes.len());
        let (found, wanted) = (run(rewritten, &input, true), run(model, &input, false));
        assert_eq!(found.len(), wanted.len());
        for ((found_shape, found), (shape, wanted)) in found.iter().zip(&wanted) {
            assert_eq!(found_shape, shape, "graph {seed}");
            let scale = wanted.iter().fold(1f32, |m, v| m.max(v.abs()));
            for (found, wanted) in found.iter().zip(wanted) {
                assert!((found - wanted).abs() <= 1e-5 * scale, "graph {seed}: {found}, not {wanted}");
            }
        }
    }
    changed
}

#[test]
fn channels_last_gives_the_same() {
    check(channels_last);
}

#[test]
fn widened_rows_give_the_same() {
    let changed = check(widen);
    assert!(changed > 20, "rows were widened in {changed} graphs only");
}

#[test]
fn both_give_the_same() {
    let changed = check(|model| widen(&channels_last(model)?));
    assert!(changed > 20, "{changed} graphs changed");
}

/// Kernels in the place of convolutions and of what follows them.
#[test]
fn kernels_give_the_same() {
    let threads = Arc::new(Threads::new(2).unwrap());
    let changed = check(|model| {
        let mut model = channels_last(model)?;
        bind(&mut model, &threads)?;
        Ok(model)
    });
    assert!(changed > 20, "{changed} graphs changed");
}

/// A row of 24 channels over positions of a map, the case that widening is for: the row is repeated as
/// often as whole registers take, and only there.
#[test]
fn a_short_row_is_widened_and_a_long_one_left() {
    for (channels, wide) in [(24, Some(vec![1, 8, 24])), (64, None)] {
        let mut model = TypedModel::default();
        let map = model.add_source("map", f32::fact([2, 8, channels])).unwrap();
        let row = model.add_const("row", Tensor::zero::<f32>(&[1, 1, channels]).unwrap()).unwrap();
        let sum = model.wire_node("sum", math::add(), &[map, row]).unwrap();
        model.select_output_outlets(&sum).unwrap();
        let widened = widen(&model).unwrap();
        let broadcast = widened.nodes.iter().find(|node| node.name.contains(".wide."));
        let shape = broadcast.map(|node| node.outputs[0].fact.shape.as_concrete().unwrap().to_vec());
        assert_eq!(shape, wide, "{channels} channels");
    }
}
