//! Against a naive convolution in float64, over random shapes, every instruction set that the machine
//! has, and one to three threads.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::test_support::{assert_close, levels, random};
use crate::{KernelError, Threads};

fn random_geometry(rng: &mut ChaCha8Rng) -> Geometry {
    loop {
        let mut pair = |low, high| [rng.random_range(low..=high), rng.random_range(low..=high)];
        let mut geometry = Geometry::new(1, pair(1, 12), 1, 1, pair(1, 4));
        geometry.stride = pair(1, 3);
        geometry.dilation = pair(1, 3);
        geometry.pad_before = pair(0, 3);
        geometry.pad_after = pair(0, 3);
        if rng.random_bool(0.3) {
            for pair in [&mut geometry.input, &mut geometry.kernel, &mut geometry.stride] {
                pair[0] = 1;
            }
            (geometry.pad_before[0], geometry.pad_after[0]) = (0, 0);
        }
        geometry.groups = *[1, 1, 1, 2, 3].get(rng.random_range(0..5)).unwrap();
        geometry.batch = rng.random_range(1..=4);
        geometry.channels_in = geometry.groups * rng.random_range(1..=40);
        geometry.channels_out = geometry.groups * rng.random_range(1..=70);
        if geometry.check("test").is_ok() {
            return geometry;
        }
    }
}

/// Calls `each` with the offsets (output, input, weight) of every product that the convolution sums.
fn each_product(geometry: &Geometry, mut each: impl FnMut(usize, usize, usize)) {
    let [batch, height, width, outputs] = geometry.output_shape();
    let [group_in, group_out] = [geometry.group_in(), geometry.group_out()];
    for (n, oh, ow) in triples(batch, height, width) {
        for (kh, kw, ci) in triples(geometry.kernel[0], geometry.kernel[1], group_in) {
            let ih =
                (oh * geometry.stride[0] + kh * geometry.dilation[0]).checked_sub(geometry.pad_before[0]);
            let iw =
                (ow * geometry.stride[1] + kw * geometry.dilation[1]).checked_sub(geometry.pad_before[1]);
            let (Some(ih), Some(iw)) = (ih, iw) else { continue };
            if ih >= geometry.input[0] || iw >= geometry.input[1] {
                continue;
            }
            for co in 0..outputs {
                let output = ((n * height + oh) * width + ow) * outputs + co;
                let channel = co / group_out * group_in + ci;
                let input =
                    ((n * geometry.input[0] + ih) * geometry.input[1] + iw) * geometry.channels_in + channel;
                let weight = ((co * group_in + ci) * geometry.kernel[0] + kh) * geometry.kernel[1] + kw;
                each(output, input, weight);
            }
        }
    }
}

fn triples(a: usize, b: usize, c: usize) -> impl Iterator<Item = (usize, usize, usize)> {
    (0..a).flat_map(move |a| (0..b).flat_map(move |b| (0..c).map(move |c| (a, b, c))))
}

struct Case {
    geometry: Geometry,
    x: Vec<f32>,
    kernel: Vec<f32>,
    bias: Vec<f32>,
    dy: Vec<f32>,
    before: [Vec<f32>; 3],
}

impl Case {
    fn new(geometry: Geometry, rng: &mut ChaCha8Rng) -> Self {
        let size = |shape: [usize; 4]| shape.iter().product::<usize>();
        let (input, kernel) = (size(geometry.input_shape()), size(geometry.kernel_shape()));
        Self {
            geometry,
            x: random(rng, input),
            kernel: random(rng, kernel),
            bias: random(rng, geometry.channels_out),
            dy: random(rng, size(geometry.output_shape())),
            before: [random(rng, input), random(rng, kernel), random(rng, geometry.channels_out)],
        }
    }

    /// Output, clipped output, and the gradients of input, weights and bias added to `before`.
    fn reference(&self) -> [Vec<f64>; 5] {
        let channels = self.geometry.channels_out;
        let wide = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
        let mut out: Vec<f64> = (0..self.dy.len()).map(|i| f64::from(self.bias[i % channels])).collect();
        let [mut dx, mut dkernel, mut dbias] = [0, 1, 2].map(|i| wide(&self.before[i]));
        each_product(&self.geometry, |output, input, weight| {
            let (x, w, dy) = (self.x[input], self.kernel[weight], f64::from(self.dy[output]));
            out[output] += f64::from(x) * f64::from(w);
            dx[input] += dy * f64::from(w);
            dkernel[weight] += dy * f64::from(x);
        });
        self.dy.iter().enumerate().for_each(|(i, dy)| dbias[i % channels] += f64::from(*dy));
        let clipped = out.iter().map(|v| v.clamp(-0.5, 0.75)).collect();
        [out, clipped, dx, dkernel, dbias]
    }

    fn run(&self, threads: &Threads) -> [Vec<f32>; 5] {
        let [mut out, mut clipped] = [vec![f32::NAN; self.dy.len()], vec![f32::NAN; self.dy.len()]];
        let [mut dx, mut dkernel, mut dbias] = self.before.clone();
        let packed = PackedKernel::new(&self.geometry, Direction::Forward, &self.kernel, threads).unwrap();
        forward(&self.x, &packed, Some(&self.bias), None, &mut out, threads).unwrap();
        forward(&self.x, &packed, Some(&self.bias), Some((-0.5, 0.75)), &mut clipped, threads).unwrap();
        let packed =
            PackedKernel::new(&self.geometry, Direction::InputGradient, &self.kernel, threads).unwrap();
        input_gradient(&self.dy, &packed, &mut dx, true, threads).unwrap();
        let geometry = &self.geometry;
        weight_gradient(&self.x, &self.dy, geometry, &mut dkernel, Some(&mut dbias), true, threads).unwrap();
        [out, clipped, dx, dkernel, dbias]
    }

    fn check(&self) {
        let expected = self.reference();
        for level in levels() {
            let one = self.run(&Threads::with_level(1, level).unwrap());
            for (index, name) in ["out", "clipped", "dx", "dkernel", "dbias"].into_iter().enumerate() {
                let what = format!("{name} at {level:?} of {:?}", self.geometry);
                assert_close(&one[index], &expected[index], &what);
            }
            for count in [2, 3] {
                let more = self.run(&Threads::with_level(count, level).unwrap());
                assert!(one == more, "{count} threads at {level:?} differ: {:?}", self.geometry);
            }
        }
    }
}

#[test]
fn random_shapes_match_the_definition_at_every_level_and_on_any_threads() {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for _ in 0..60 {
        let geometry = random_geometry(&mut rng);
        Case::new(geometry, &mut rng).check();
    }
}

#[test]
fn several_blocks_chunks_and_pieces_match_the_definition() {
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let mut deep = Geometry::new(2, [9, 7], 130, 33, [3, 3]);
    deep.pad_before = [1, 1];
    deep.pad_after = [1, 1];
    let mut long = Geometry::new(9, [1, 700], 3, 20, [1, 5]);
    long.stride = [1, 2];
    long.pad_before = [0, 2];
    for geometry in [deep, long] {
        Case::new(geometry, &mut rng).check();
    }
}

#[test]
fn gradients_replace_what_was_there_unless_told_to_add() {
    let mut rng = ChaCha8Rng::seed_from_u64(3);
    // A stride above the kernel: some inputs are read by no output.
    let mut geometry = Geometry::new(2, [7, 7], 5, 6, [1, 1]);
    geometry.stride = [2, 3];
    let mut case = Case::new(geometry, &mut rng);
    let threads = Threads::new(1).unwrap();
    let packed = PackedKernel::new(&geometry, Direction::InputGradient, &case.kernel, &threads).unwrap();
    let [mut dx, mut dkernel, mut dbias] = case.before.clone().map(|v| vec![f32::NAN; v.len()]);
    input_gradient(&case.dy, &packed, &mut dx, false, &threads).unwrap();
    weight_gradient(&case.x, &case.dy, &geometry, &mut dkernel, Some(&mut dbias), false, &threads).unwrap();
    case.before.iter_mut().for_each(|before| before.fill(0.0));
    let [_, _, expected_dx, expected_dkernel, expected_dbias] = case.reference();
    assert_close(&dx, &expected_dx, "dx");
    assert_close(&dkernel, &expected_dkernel, "dkernel");
    assert_close(&dbias, &expected_dbias, "dbias");
}

#[test]
fn a_nan_stays_one_through_the_clip() {
    let geometry = Geometry::new(1, [1, 1], 1, 1, [1, 1]);
    for level in levels() {
        let threads = Threads::with_level(1, level).unwrap();
        let packed = PackedKernel::new(&geometry, Direction::Forward, &[1.0], &threads).unwrap();
        let mut out = [0.0];
        forward(&[f32::NAN], &packed, None, Some((0.0, 6.0)), &mut out, &threads).unwrap();
        assert!(out[0].is_nan());
    }
}

#[test]
fn a_kernel_set_anew_is_as_one_packed_anew() {
    let mut rng = ChaCha8Rng::seed_from_u64(4);
    let geometry = Geometry::new(1, [5, 5], 20, 10, [3, 2]);
    let (first, second) = (random(&mut rng, 1200), random(&mut rng, 1200));
    let threads = Threads::new(1).unwrap();
    let mut packed = PackedKernel::new(&geometry, Direction::Forward, &first, &threads).unwrap();
    packed.set(&second).unwrap();
    let x = random(&mut rng, 500);
    let [mut out, mut expected] = [[0.0; 120], [0.0; 120]];
    forward(&x, &packed, None, None, &mut out, &threads).unwrap();
    let packed = PackedKernel::new(&geometry, Direction::Forward, &second, &threads).unwrap();
    forward(&x, &packed, None, None, &mut expected, &threads).unwrap();
    assert_eq!(out, expected);
}

#[test]
fn a_kernel_packed_for_one_level_runs_on_threads_of_another() {
    let mut rng = ChaCha8Rng::seed_from_u64(5);
    let case = Case::new(Geometry::new(2, [10, 9], 7, 40, [1, 1]), &mut rng);
    let [expected, ..] = case.reference();
    for (packs, runs) in levels().flat_map(|packs| levels().map(move |runs| (packs, runs))) {
        let [packs, runs] = [packs, runs].map(|level| Threads::with_level(1, level).unwrap());
        let packed = PackedKernel::new(&case.geometry, Direction::Forward, &case.kernel, &packs).unwrap();
        let mut out = vec![f32::NAN; expected.len()];
        forward(&case.x, &packed, Some(&case.bias), None, &mut out, &runs).unwrap();
        assert_close(&out, &expected, &format!("{:?} on {:?}", packs.level(), runs.level()));
    }
}

#[test]
fn refuses_what_does_not_fit_and_names_it() {
    let threads = Threads::new(1).unwrap();
    let good = Geometry::new(1, [4, 4], 2, 2, [3, 3]);
    let pack = |geometry: &Geometry| {
        let size = geometry.kernel_shape().iter().fold(1_usize, |a, b| a.saturating_mul(*b)).min(1000);
        PackedKernel::new(geometry, Direction::InputGradient, &vec![0.0; size], &threads)
    };
    let bad = [
        ("batch", Geometry { batch: 0, ..good }),
        ("kernel", Geometry { kernel: [5, 3], ..good }),
        ("kernel", Geometry { dilation: [1, 2], ..good }),
        ("stride", Geometry { stride: [0, 1], ..good }),
        ("stride", Geometry { stride: [1, MAX_STRIDE + 1], ..good }),
        ("channels_in", Geometry { groups: 2, channels_in: 3, ..good }),
        ("pad_after", Geometry { pad_after: [usize::MAX, 0], ..good }),
        ("input", Geometry { batch: MAX_SIZE, input: [1 << 12, 1 << 12], ..good }),
    ];
    for (name, geometry) in bad {
        match pack(&geometry).unwrap_err() {
            KernelError::Geometry { argument, .. } => assert_eq!(argument, name, "{geometry:?}"),
            other => panic!("{other}"),
        }
    }
    let gradient = pack(&good).unwrap();
    let mut out = [0.0; 8];
    assert!(forward(&[0.0; 32], &gradient, None, None, &mut out, &threads).is_err());
    let error = input_gradient(&[0.0; 7], &gradient, &mut [0.0; 32], false, &threads).unwrap_err();
    assert_eq!(
        error.to_string(),
        "convolution input gradient: `dy` holds 7 floats where its shape [1, 2, 2, 2] asks for 8"
    );
}
