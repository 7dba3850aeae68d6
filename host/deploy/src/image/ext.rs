//! The root of a card's image: an ext file system at an offset of a file, read and written by `debugfs` of e2fsprogs, which
//! mounts nothing and so needs no root.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::ImageError;
use super::root::{Entry, Found, Root, What};
use crate::payload::{Content, MAX_BUNDLE_BYTES};

/// A file system in an image.
pub(super) struct Ext4 {
    image: PathBuf,
    offset: u64,
}

impl Ext4 {
    pub(super) fn open(image: &Path, offset: u64) -> Result<Self, ImageError> {
        let image =
            fs::canonicalize(image).map_err(|source| ImageError::Io { path: image.to_owned(), source })?;
        Ok(Self { image, offset })
    }

    fn device(&self) -> OsString {
        let mut device = self.image.clone().into_os_string();
        device.push(format!("?offset={}", self.offset));
        device
    }

    fn debugfs(&self, options: &[&str], folder: &Path) -> Result<Output, ImageError> {
        let mut command = Command::new("debugfs");
        command.args(options).arg(self.device()).current_dir(folder).stdin(Stdio::null());
        // It lives where only root's PATH leads on some systems.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin")).env("LC_ALL", "C");
        command.output().map_err(|source| ImageError::Tool {
            program: "debugfs",
            package: "e2fsprogs",
            source,
        })
    }

    fn ask(&self, request: &str, folder: &Path) -> Result<String, ImageError> {
        let output = self.debugfs(&["-R", request], folder)?;
        if output.status.success() {
            return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
        }
        Err(ImageError::Write { path: request.to_owned(), reason: complaint(&output) })
    }

    /// That each entry is there as it was to be: debugfs tells of failures in words alone.
    fn verify(&self, entries: &[Entry], folder: &Path, said: &str) -> Result<(), ImageError> {
        for entry in entries {
            let failed = |reason: &str| ImageError::Write {
                path: entry.path.clone(),
                reason: format!("{reason}; {said}"),
            };
            let found = self.look(&entry.path)?;
            match &entry.what {
                What::Folder if found != Found::Folder => return Err(failed("it is not there")),
                What::Link(target) if found != Found::Link(target.clone()) => {
                    return Err(failed("it is not there"));
                }
                What::File { sha256, .. } => {
                    let copy = folder.join("copy");
                    if !self.fetch(&entry.path, &copy)? {
                        return Err(failed("it is not there"));
                    }
                    if Content::open(&copy, MAX_BUNDLE_BYTES)?.sha256 != *sha256 {
                        return Err(failed("it is not what was written; is the file system full?"));
                    }
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl Root for Ext4 {
    fn look(&self, path: &str) -> Result<Found, ImageError> {
        let text = self.ask(&format!("stat {path}"), Path::new("/"))?;
        let kind = text.lines().find_map(|line| line.split_once("Type: ").map(|(_, rest)| rest));
        let kind = kind.and_then(|rest| rest.split_whitespace().next());
        Ok(match kind {
            None => Found::Nothing,
            Some("directory") => Found::Folder,
            Some("regular") => Found::File,
            Some("symlink") => {
                let target = text.lines().find_map(|line| line.strip_prefix("Fast link dest: "));
                Found::Link(target.unwrap_or_default().trim_matches('"').to_owned())
            }
            Some(_) => Found::Other,
        })
    }

    fn fetch(&self, path: &str, to: &Path) -> Result<bool, ImageError> {
        let io = |source| ImageError::Io { path: to.to_owned(), source };
        if self.look(path)? != Found::File {
            return Ok(false);
        }
        let (folder, name) = (to.parent().unwrap_or(Path::new("/")), to.file_name().unwrap_or_default());
        // Names on this side are ours, without a blank in them; folders of this side may have some, so none is named.
        self.ask(&format!("dump {path} {}", name.to_string_lossy()), folder)?;
        fs::metadata(to).map_err(io).map(|_| true)
    }

    fn put(&self, entries: &[Entry]) -> Result<(), ImageError> {
        let folder =
            tempfile::tempdir().map_err(|source| ImageError::Io { path: std::env::temp_dir(), source })?;
        let io = |source| ImageError::Io { path: folder.path().to_owned(), source };
        let mut script = String::new();
        // A String takes whatever is written to it.
        for (at, entry) in entries.iter().enumerate() {
            let found = self.look(&entry.path)?;
            entry.can_replace(&found)?;
            let (parent, name) = entry.parts();
            match &entry.what {
                What::Folder if found == Found::Folder => continue,
                What::Folder => _ = writeln!(script, "mkdir {}", entry.path),
                What::File { source, mode, .. } => {
                    let local = format!("file-{at}");
                    std::os::unix::fs::symlink(
                        fs::canonicalize(source).map_err(io)?,
                        folder.path().join(&local),
                    )
                    .map_err(io)?;
                    if found != Found::Nothing {
                        _ = writeln!(script, "rm {}", entry.path);
                    }
                    // Older versions take a path for the name of a file, so it is gone to first.
                    _ = writeln!(script, "cd {parent}\nwrite {local} {name}\ncd /");
                    _ = writeln!(script, "sif {} mode 0{:o}", entry.path, 0o100_000 | mode);
                    _ = writeln!(script, "sif {0} uid 0\nsif {0} gid 0", entry.path);
                }
                What::Link(target) => {
                    if found != Found::Nothing {
                        _ = writeln!(script, "rm {}", entry.path);
                    }
                    _ = writeln!(script, "cd {parent}\nsymlink {name} {target}\ncd /");
                }
            }
        }
        fs::write(folder.path().join("script"), script).map_err(io)?;
        let output = self.debugfs(&["-w", "-f", "script"], folder.path())?;
        self.verify(entries, folder.path(), &complaint(&output))
    }
}

/// What debugfs complained of, after its own name and version.
fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> =
        text.lines().map(str::trim).filter(|line| !line.starts_with("debugfs 1.")).collect();
    lines.join("; ").chars().filter(|c| !c.is_control()).take(1024).collect()
}
