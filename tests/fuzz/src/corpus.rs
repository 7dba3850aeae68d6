//! Writes the seeds as files into the folder given, for a fuzzer to begin with.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "corpus".into());
    std::fs::create_dir_all(&folder)?;
    for (name, bytes) in sedge_fuzz::hostile::seeds::corpus() {
        std::fs::write(Path::new(&folder).join(name + ".onnx"), bytes)?;
    }
    Ok(())
}
