//! A file of JSON lines that only grows, up to a limit, and can be cut back to a known length.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::OutputError;

/// Default limit of one file: 4 GiB.
pub const MAX_OUTPUT_BYTES: u64 = 4 << 30;

/// Bytes of a file's end that are looked at at once.
const TAIL: u64 = 1 << 16;

/// A file of JSON lines, generic over what takes the bytes.
#[derive(Debug)]
pub struct LineFile<W: Write = BufWriter<File>> {
    path: PathBuf,
    out: W,
    bytes: u64,
    limit: u64,
    line: Vec<u8>,
}

impl LineFile {
    /// Opens `path`, made if it is not there, and keeps at most its first `keep` bytes, and of those
    /// only whole lines; what a killed session wrote after its checkpoint is cut off.
    pub fn open(path: &Path, keep: u64, limit: u64) -> Result<Self, OutputError> {
        let failed = |step| move |source| OutputError::Io { step, path: path.to_owned(), source };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(failed("opening"))?;
        let bytes = if keep == 0 { 0 } else { whole_lines(&file, keep).map_err(failed("reading"))? };
        file.set_len(bytes).or_else(ignore_device(&file)).map_err(failed("cutting"))?;
        file.seek(SeekFrom::Start(bytes)).map_err(failed("seeking in"))?;
        Ok(Self::over(BufWriter::with_capacity(1 << 16, file), path, bytes, limit))
    }

    /// Hands every line to the system and has it on disk when this returns.
    pub fn sync(&mut self) -> Result<u64, OutputError> {
        self.flush()?;
        self.out.get_ref().sync_data().map_err(|source| self.failed("syncing", source))?;
        Ok(self.bytes)
    }
}

/// A pipe or a device such as `/dev/stdout` has no length to set.
fn ignore_device(file: &File) -> impl FnOnce(std::io::Error) -> std::io::Result<()> {
    let regular = file.metadata().is_ok_and(|metadata| metadata.is_file());
    move |error| if regular { Err(error) } else { Ok(()) }
}

/// Length of the whole lines in the first `keep` bytes: up to the last line break in them, which is looked for
/// from the end, so that a file of months costs no more than one of minutes.
fn whole_lines(mut file: &File, keep: u64) -> std::io::Result<u64> {
    let mut end = keep.min(file.metadata()?.len());
    let mut part = vec![];
    while end > 0 {
        let start = end.saturating_sub(TAIL);
        file.seek(SeekFrom::Start(start))?;
        part.clear();
        file.take(end - start).read_to_end(&mut part)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

impl<W: Write> LineFile<W> {
    /// Writes to `out`, which stands for `path` in errors and has taken `bytes` already.
    pub fn over(out: W, path: &Path, bytes: u64, limit: u64) -> Self {
        Self { path: path.to_owned(), out, bytes, limit, line: Vec::new() }
    }

    /// Appends one record as a line.
    pub fn append(&mut self, record: &impl Serialize) -> Result<(), OutputError> {
        self.line.clear();
        serde_json::to_writer(&mut self.line, record)?;
        self.line.push(b'\n');
        let bytes = self.bytes.saturating_add(self.line.len() as u64);
        if bytes > self.limit {
            return Err(OutputError::Full { path: self.path.clone(), limit: self.limit });
        }
        self.out.write_all(&self.line).map_err(|source| self.failed("writing", source))?;
        self.bytes = bytes;
        Ok(())
    }

    /// Hands every line to the system.
    pub fn flush(&mut self) -> Result<(), OutputError> {
        self.out.flush().map_err(|source| self.failed("writing", source))
    }

    /// Bytes so far.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn failed(&self, step: &'static str, source: std::io::Error) -> OutputError {
        OutputError::Io { step, path: self.path.clone(), source }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Fails at the `n`-th write.
    struct Failing {
        writes: usize,
        n: usize,
    }

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.writes += 1;
            if self.writes >= self.n { Err(std::io::ErrorKind::StorageFull.into()) } else { Ok(bytes.len()) }
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_full_disk_is_said_with_the_way_out() {
        let mut lines = LineFile::over(Failing { writes: 0, n: 3 }, Path::new("e.jsonl"), 0, 1 << 20);
        lines.append(&1).unwrap();
        lines.append(&2).unwrap();
        let error = lines.append(&3).unwrap_err().to_string();
        assert!(error.contains("e.jsonl") && error.contains("disk is full"), "{error}");
        assert_eq!(lines.bytes(), 4, "what failed is not counted");
    }

    #[test]
    fn the_limit_holds() {
        let mut lines = LineFile::over(Vec::new(), Path::new("e.jsonl"), 0, 9);
        lines.append(&"abc").unwrap();
        assert!(matches!(lines.append(&"abc"), Err(OutputError::Full { limit: 9, .. })));
        assert_eq!(lines.out, b"\"abc\"\n");
    }

    #[test]
    fn a_cut_line_and_what_follows_the_checkpoint_are_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.jsonl");
        for (keep, wanted) in [(0, ""), (3, "1\n"), (4, "1\n2\n"), (5, "1\n2\n"), (99, "1\n2\n3\n")] {
            std::fs::write(&path, "1\n2\n3\n4").unwrap();
            let mut lines = LineFile::open(&path, keep, 1 << 20).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), wanted, "keep {keep}");
            lines.append(&9).unwrap();
            assert_eq!(lines.sync().unwrap(), wanted.len() as u64 + 2);
            assert_eq!(std::fs::read_to_string(&path).unwrap(), format!("{wanted}9\n"));
        }
    }

    #[test]
    fn the_last_line_break_is_found_however_far_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("e.jsonl");
        for tail in [0, 1, TAIL - 1, TAIL, TAIL + 1, 3 * TAIL] {
            let whole = [vec![b'1'; 70_000], vec![b'\n']].concat();
            std::fs::write(&path, [whole, vec![b'2'; tail as usize]].concat()).unwrap();
            assert_eq!(LineFile::open(&path, u64::MAX, 1 << 20).unwrap().bytes(), 70_001, "{tail}");
        }
    }

    #[test]
    fn a_missing_folder_is_named() {
        let error = LineFile::open(Path::new("/nowhere/e.jsonl"), 0, 1).unwrap_err();
        assert!(error.to_string().contains("/nowhere/e.jsonl"), "{error}");
    }
}
