//! Times the kernels, and beside them PyTorch's, one thread unless told.
//!
//!     cargo bench -p sedge-kernels -- [--threads N] [--rounds N] [NAME...]
//!
//! Prints, for each shape and direction, the least milliseconds of many runs and the rate. Where
//! `SEDGE_PYTHON` names a Python with PyTorch, `tests/benches/peers/kernels.py` times the same
//! shapes, channels last, in turn with ours, so that both see the same neighbours on the machine. On
//! one thread both count the thread's own time, which leaves out what others took.
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a program of its own, read by its user")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use sedge_kernels::convolution::{
    Direction, Geometry, PackedKernel, forward, input_gradient, weight_gradient,
};
use sedge_kernels::{Product, Threads};

/// A convolution: name, batch, input, channels in and out, kernel, stride, padding, groups.
type Convolution = (&'static str, usize, [usize; 2], [usize; 2], [usize; 2], usize, [usize; 2], usize);

const CONVOLUTIONS: [Convolution; 10] = [
    ("3x3 64 16x16", 64, [16, 16], [64, 64], [3, 3], 1, [1, 1], 1),
    ("3x3 16 32x32", 64, [32, 32], [16, 16], [3, 3], 1, [1, 1], 1),
    ("3x3 s2 32-64 16x16", 64, [16, 16], [32, 64], [3, 3], 2, [1, 1], 1),
    ("3x3 128 4x4", 64, [4, 4], [128, 128], [3, 3], 1, [1, 1], 1),
    ("1x1 24-144 32x32", 64, [32, 32], [24, 144], [1, 1], 1, [0, 0], 1),
    ("1x1 144-32 32x32", 64, [32, 32], [144, 32], [1, 1], 1, [0, 0], 1),
    ("1x1 s2 32-64 16x16", 64, [16, 16], [32, 64], [1, 1], 2, [0, 0], 1),
    ("3x3 s2 3-32 64x64", 64, [64, 64], [3, 32], [3, 3], 2, [1, 1], 1),
    ("3x3 g4 64 16x16", 64, [16, 16], [64, 64], [3, 3], 1, [1, 1], 4),
    ("k5 64 128", 64, [1, 128], [64, 64], [1, 5], 1, [0, 2], 1),
];

/// Products: name, batch, rows, depth, columns, which operands are transposed.
const PRODUCTS: [(&str, usize, [usize; 3], [bool; 2]); 7] = [
    ("product 256", 1, [256, 256, 256], [false, false]),
    ("product 256 a^T", 1, [256, 256, 256], [true, false]),
    ("product 256 b^T", 1, [256, 256, 256], [false, true]),
    ("product 512", 1, [512, 512, 512], [false, false]),
    ("product 1024", 1, [1024, 1024, 1024], [false, false]),
    ("attention 64x32x64", 512, [64, 32, 64], [false, true]),
    ("linear 8192x128x512", 1, [8192, 128, 512], [false, true]),
];

type Work = Box<dyn FnMut(&Threads)>;

/// A kernel to time.
struct Case {
    name: String,
    operations: f64,
    work: Work,
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let number = |name: &str, default: usize| {
        let place = arguments.iter().position(|argument| argument == name);
        place.and_then(|place| arguments.get(place + 1)?.parse().ok()).unwrap_or(default)
    };
    // Without `--bench` this is a test run: once through every case.
    let bench = std::env::args().any(|argument| argument == "--bench");
    let rounds = number("--rounds", if bench { 3 } else { 0 });
    let threads = Threads::new(number("--threads", 1)).unwrap();
    let wanted = |name: &str| {
        let mut names =
            arguments.iter().filter(|a| !a.starts_with("--") && a.parse::<u32>().is_err()).peekable();
        names.peek().is_none() || names.any(|wanted| name.contains(wanted.as_str()))
    };
    let mut cases: Vec<Case> = CONVOLUTIONS.iter().flat_map(|c| convolution(c, &threads)).collect();
    cases.extend(
        PRODUCTS.iter().map(|(name, batch, shape, transposed)| product(name, *batch, *shape, *transposed)),
    );
    cases.retain(|case| wanted(&case.name));
    let mut ours = vec![f64::INFINITY; cases.len()];
    let mut peers = BTreeMap::new();
    for _ in 0..rounds.max(1) {
        for (case, ours) in cases.iter_mut().zip(&mut ours) {
            *ours = ours.min(least(&threads, || (case.work)(&threads), rounds == 0));
        }
        if rounds > 0 {
            peer(&threads, &cases, &mut peers);
        }
    }
    println!("{:?}, {} threads; least of {rounds} rounds", threads.level(), threads.count());
    println!("{:30} {:>9} {:>9} {:>11} {:>6}", "", "ours ms", "GFLOP/s", "PyTorch ms", "ratio");
    for (case, ours) in cases.iter().zip(ours) {
        let rate = case.operations / ours / 1e6;
        match peers.get(&case.name) {
            Some(peer) => println!("{:30} {ours:9.3} {rate:9.1} {peer:11.3} {:6.2}", case.name, ours / peer),
            None => println!("{:30} {ours:9.3} {rate:9.1}", case.name),
        }
    }
}

/// Least milliseconds of a call, over a fifth of a second.
fn least(threads: &Threads, mut work: impl FnMut(), once: bool) -> f64 {
    let clock = if threads.count() == 1 { ClockId::ThreadCPUTime } else { ClockId::Monotonic };
    let begin = Instant::now();
    let mut least = Duration::MAX;
    loop {
        let start = clock_gettime(clock);
        work();
        let time = clock_gettime(clock) - start;
        least = least.min(time.try_into().unwrap());
        if once || begin.elapsed() > Duration::from_millis(200) {
            return least.as_secs_f64() * 1e3;
        }
    }
}

fn geometry(case: &Convolution) -> Geometry {
    let (_, batch, input, [channels_in, channels_out], kernel, stride, pad, groups) = *case;
    Geometry {
        stride: [if input[0] == 1 { 1 } else { stride }, stride],
        pad_before: pad,
        pad_after: pad,
        groups,
        ..Geometry::new(batch, input, channels_in, channels_out, kernel)
    }
}

fn values(shape: &[usize]) -> Vec<f32> {
    (0..shape.iter().product::<usize>()).map(|index| (index % 17) as f32 / 16.0 - 0.5).collect()
}

fn convolution(case: &Convolution, threads: &Threads) -> Vec<Case> {
    let geometry = geometry(case);
    let x = values(&geometry.input_shape());
    let dy = values(&geometry.output_shape());
    let kernel = values(&geometry.kernel_shape());
    let operations = 2.0 * (dy.len() * kernel.len() / geometry.channels_out) as f64;
    let pack = |direction| PackedKernel::new(&geometry, direction, &kernel, threads).unwrap();
    let (mut packed, mut turned) = (pack(Direction::Forward), pack(Direction::InputGradient));
    let (mut out, mut dx, mut dkernel) = (dy.clone(), x.clone(), kernel.clone());
    let (again, also) = (kernel.clone(), kernel);
    let (input, gradient) = (x.clone(), dy.clone());
    let named = |direction: &str| format!("{} {direction}", case.0);
    let work: [(&str, Work); 3] = [
        (
            "forward",
            Box::new(move |threads| {
                packed.set(&again).unwrap();
                forward(&x, &packed, None, None, &mut out, threads).unwrap();
            }),
        ),
        (
            "dx",
            Box::new(move |threads| {
                turned.set(&also).unwrap();
                input_gradient(&dy, &turned, &mut dx, false, threads).unwrap();
            }),
        ),
        (
            "dw",
            Box::new(move |threads| {
                weight_gradient(&input, &gradient, &geometry, &mut dkernel, None, false, threads).unwrap();
            }),
        ),
    ];
    work.into_iter().map(|(direction, work)| Case { name: named(direction), operations, work }).collect()
}

fn product(name: &str, batch: usize, shape: [usize; 3], transposed: [bool; 2]) -> Case {
    let [rows, depth, columns] = shape;
    let [transpose_a, transpose_b] = transposed;
    let product = Product { batch, transpose_a, transpose_b, ..Product::new(rows, depth, columns) };
    let (a, b) = (values(&[batch, rows, depth]), values(&[batch, depth, columns]));
    let mut out = values(&[batch, rows, columns]);
    Case {
        name: name.to_owned(),
        operations: 2.0 * (batch * rows * depth * columns) as f64,
        work: Box::new(move |threads| product.run(&a, &b, &mut out, threads).unwrap()),
    }
}

/// Lets PyTorch time the cases once and keeps the least.
fn peer(threads: &Threads, cases: &[Case], peers: &mut BTreeMap<String, f64>) {
    let Ok(python) = std::env::var("SEDGE_PYTHON") else {
        return;
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/benches/peers/kernels.py");
    let mut lines = Vec::new();
    for case in &CONVOLUTIONS {
        let shapes = geometry(case);
        let fields = [&shapes.input_shape()[..], &shapes.kernel_shape(), &shapes.stride, &shapes.pad_before];
        let fields = fields.concat().iter().map(usize::to_string).collect::<Vec<_>>().join(",");
        lines.push(format!("{};convolution;{fields},{}", case.0, shapes.groups));
    }
    for (name, batch, [rows, depth, columns], [a, b]) in PRODUCTS {
        lines.push(format!(
            "{name};product;{batch},{rows},{depth},{columns},{},{}",
            u8::from(a),
            u8::from(b)
        ));
    }
    lines.retain(|line| {
        let name = line.split(';').next().unwrap_or_default();
        cases.iter().any(|case| case.name.starts_with(name))
    });
    let output =
        Command::new(python).arg(script).arg(threads.count().to_string()).args(lines).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let (name, time) = line.rsplit_once(';').unwrap();
        let time: f64 = time.parse().unwrap();
        peers.entry(name.to_owned()).and_modify(|least: &mut f64| *least = least.min(time)).or_insert(time);
    }
}
