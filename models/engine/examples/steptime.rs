use ndarray::{ArrayD, IxDyn};
use sedge_models::{architecture::*, compile::*, objective::*, onnx::build::Batch, optimizer::Optimizer, selection::Selection};
use sedge_engine::*;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let arch = Architecture::preset(&a[1]).unwrap();
    let n: usize = a[2].parse().unwrap();
    let sel: Selection = a[3].parse().unwrap();
    let size: usize = a.get(4).map_or(64, |s| s.parse().unwrap());
    let iters: usize = a.get(5).map_or(5, |s| s.parse().unwrap());
    let sample: Vec<usize> = if a[1].starts_with("imu") { vec![6, 128] } else { vec![3, size, size] };
    let w = arch.initial_weights(&sample, 1).unwrap();
    println!("params {}", w.values().map(|v| v.len()).sum::<usize>());
    let (form, weights) = if a[3] == "all" { (Form::Training, w.clone()) } else { (Form::Folded, fold(&w).unwrap()) };
    let enc = arch.graph(form, Batch::Fixed(n), &sample, &weights).unwrap();
    let trained: Vec<String> = sel.pick(&arch.stages(), weights.keys().filter(|k| !k.contains("running")).collect::<Vec<_>>().into_iter());
    let t = std::time::Instant::now();
    let step = compile(Recipe { encoder: enc, trained, statistics: Default::default(), objective: Objective::NtXent { head: ProjectionHead { hidden: arch.embedding_dim(), out: 64 }, temperature: 0.2 }, optimizer: if a.get(6).is_some() { Optimizer::SGD } else { Optimizer::ADAMW }, lr: 1e-3, weight_decay: 1e-4, seed: 3 }).unwrap();
    println!("compile {:?} bytes {} params {}", t.elapsed(), step.onnx.len(), step.spec.parameters());
    std::fs::write("/tmp/step.onnx", &step.onnx).unwrap();
    let t = std::time::Instant::now();
    let mut e = TractStep::new(&step).unwrap();
    println!("load {:?}", t.elapsed());
    let mut sh = vec![n]; sh.extend(&sample);
    let mut s = 1u32;
    let x = ArrayD::from_shape_simple_fn(IxDyn(&sh), || { s = s.wrapping_mul(1664525).wrapping_add(1013904223); (s >> 8) as f32 / 8388608.0 - 1.0 });
    for _ in 0..iters {
        let t = std::time::Instant::now();
        let m = e.step(&[("views", x.view())], &[]).unwrap();
        println!("{:?} {:?}", t.elapsed(), m);
    }
}
