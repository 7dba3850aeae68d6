//! A name for data too large to read for it: lengths of all files, and blocks of some of them.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::super::DataError;

const BLOCK: u64 = 64 << 10;
/// Steps between the blocks of one file.
const STEPS: u64 = 16;
const MOST_FILES: usize = 4096;

/// See [`super::Stream::digest`].
pub(super) fn of(name: &str, files: &[PathBuf], samples: u64, made_by: &str) -> Result<String, DataError> {
    let mut hash = Sha256::new();
    hash.update(format!("stream 1\n{samples} samples at {made_by}\n"));
    let every = files.len().div_ceil(MOST_FILES).max(1);
    for (number, path) in files.iter().enumerate() {
        let failed = |source| DataError::Io { path: path.clone(), source };
        let mut file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let relative = path.strip_prefix(Path::new(name)).unwrap_or(path);
        hash.update(format!("{} {length}\n", relative.display()));
        if number % every == 0 {
            blocks(&mut file, length, &mut hash).map_err(failed)?;
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

fn blocks(file: &mut File, length: u64, hash: &mut Sha256) -> std::io::Result<()> {
    let mut block = Vec::new();
    if length <= BLOCK * (STEPS + 1) {
        file.take(length).read_to_end(&mut block)?;
        hash.update(&block);
        return Ok(());
    }
    for step in 0..=STEPS {
        // Seventeen blocks fit, so this falls by no step.
        file.seek(SeekFrom::Start((length - BLOCK) / STEPS * step))?;
        block.clear();
        file.take(BLOCK).read_to_end(&mut block)?;
        hash.update(&block);
    }
    Ok(())
}
