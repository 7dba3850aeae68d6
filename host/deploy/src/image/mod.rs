//! The same slots in a system that does not run: a card's image, such as Raspberry Pi OS, or the folder where a card's root
//! is mounted. Neither needs root: the image's file system is written by `debugfs`, its boot partition by mtools.
//!
//! A slot is written whole before the link that puts it in service. There is no trial: whether the daemon is healthy is
//! known only when the board runs.

mod boot;
mod error;
mod ext;
mod folder;
mod partitions;
mod root;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

pub use error::ImageError;

use crate::elf::{Architecture, MAX_PROGRAM_BYTES, Program};
use crate::flash::settle_script;
use crate::payload::{BoardFile, BundleFile, Content, Daemon, MAX_BUNDLE_BYTES};
use crate::slot::{BOARD, BUNDLE, DAEMON, RECORD, SUMS, UNIT, sha256, state_folder};
use crate::units::{GROUPS, PREPARE_UNIT, prepare_unit, unit};
use crate::{Prefix, Slot, SlotRecord, cross};
use partitions::{Holds, partitions};
use root::{Entry, Found, Root, What};

/// KiB left free beyond what is written.
const SPARE_KIB: u64 = 1024;
const UNITS: &str = "/etc/systemd/system";

/// What is to be written where.
#[derive(Clone, Debug)]
pub struct ImageOptions {
    /// An image, or the folder where a card's root is mounted.
    pub image: PathBuf,
    /// The folder where the card's boot partition is mounted, for a mounted card.
    pub boot: Option<PathBuf>,
    /// The folder of the slots.
    pub prefix: Prefix,
    /// The board.
    pub board: BoardFile,
    /// The daemon.
    pub daemon: Daemon,
    /// The bundle.
    pub bundle: BundleFile,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Written {
    /// The slot in service when the board starts.
    pub slot: Slot,
    /// What it holds.
    pub record: SlotRecord,
    /// The processor of the image's programs.
    pub architecture: Architecture,
    /// Lines added to `config.txt`.
    pub config_lines: Vec<String>,
}

/// Writes a daemon, a board file and a bundle into a system that does not run.
///
/// # Errors
/// [`ImageError`]. Where it ends with an error the slot that was in service before, if one was, still is.
pub fn write(options: &ImageOptions) -> Result<Written, ImageError> {
    let ImageOptions { image, boot, prefix, board, daemon, bundle } = options;
    let scratch =
        tempfile::tempdir().map_err(|source| ImageError::Io { path: std::env::temp_dir(), source })?;
    let bundle_file = Content::open(&bundle.path, MAX_BUNDLE_BYTES)?;
    let place = Place::open(image, boot.as_deref())?;
    let (architecture, found_glibc) = system_of(place.root.as_ref(), image, scratch.path())?;
    let daemon_path = match daemon {
        Daemon::Prebuilt(path) => path.clone(),
        Daemon::Build(folder) => cross::build(architecture, folder).map_err(crate::DeployError::from)?,
    };
    let program = Program::read(&daemon_path)?;
    if program.architecture != architecture {
        return Err(ImageError::Architecture { built: program.architecture, wanted: architecture });
    }
    if let (Some(needed), Some(found)) = (program.needs_glibc, found_glibc)
        && found < needed
    {
        return Err(ImageError::Glibc { needed, found });
    }
    let daemon_file = Content::open(&daemon_path, MAX_PROGRAM_BYTES)?;
    place.has_room(image, daemon_file.bytes + bundle_file.bytes)?;
    let config = place.config(&board.board, scratch.path())?;

    let slot = match place.root.look(&format!("{prefix}/current"))? {
        Found::Link(name) => Slot::from_name(&name).map_or(Slot::A, Slot::other),
        _ => Slot::A,
    };
    let flashed_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let board_sha256 = sha256(board.text.as_bytes());
    let state = state_folder(&bundle.digest, &board_sha256, None);
    let unit_text = unit(&board.board, prefix, &state);
    let record = SlotRecord {
        format: SlotRecord::FORMAT,
        version: "sedged, not started yet".to_owned(),
        board: board.board.name.clone(),
        bundle_digest: bundle.digest.clone(),
        daemon_sha256: daemon_file.sha256,
        state_folder: state,
        board_sha256,
        bundle_sha256: bundle_file.sha256,
        unit_sha256: sha256(unit_text.as_bytes()),
        flashed_unix_s,
    };
    let mut tree = Tree { scratch: scratch.path(), entries: vec![] };
    let folder = format!("{prefix}/{slot}");
    tree.folders(&folder);
    tree.folders(&format!("{prefix}/{}", slot.other()));
    tree.copy(&format!("{folder}/{DAEMON}"), &daemon_path, 0o755, &record.daemon_sha256);
    tree.copy(&format!("{folder}/{BUNDLE}"), &bundle.path, 0o644, &record.bundle_sha256);
    let line = record.to_line().map_err(crate::DeployError::from)?;
    for (name, text) in
        [(BOARD, &board.text), (UNIT, &unit_text), (RECORD, &line), (SUMS, &record.sums(&line))]
    {
        tree.text(&format!("{folder}/{name}"), text)?;
    }
    tree.text(&format!("{prefix}/settle"), settle_script())?;
    tree.folders(&format!("{UNITS}/multi-user.target.wants"));
    tree.text(&format!("{UNITS}/{PREPARE_UNIT}"), &prepare_unit(prefix))?;
    tree.text(&format!("{UNITS}/{UNIT}"), &unit_text)?;
    tree.folders("/etc/sysusers.d");
    tree.text("/etc/sysusers.d/sedge.conf", &sysusers())?;
    if board.board.buses.iter().any(|bus| bus.device.is_some()) {
        tree.folders("/etc/modules-load.d");
        // Without it there are no /dev/i2c-N, even where the bus is switched on.
        tree.text("/etc/modules-load.d/sedge.conf", "i2c-dev\n")?;
    }
    for name in [PREPARE_UNIT, UNIT] {
        tree.link(&format!("{UNITS}/multi-user.target.wants/{name}"), &format!("../{name}"));
    }
    // Last, as it puts the slot in service.
    tree.link(&format!("{prefix}/current"), slot.name());
    place.root.put(&tree.entries)?;
    let config_lines = match config {
        Some((text, lines)) => place.write_config(&text, scratch.path()).map(|()| lines)?,
        None => vec![],
    };
    Ok(Written { slot, record, architecture, config_lines })
}

/// Users and groups as systemd-sysusers makes them, at the first boot: a group that the board lacks is made too, and has
/// no device.
fn sysusers() -> String {
    let memberships: String = GROUPS.iter().map(|group| format!("m sedge {group}\n")).collect();
    format!("u sedge - \"Sedge\" /var/lib/sedge\n{memberships}")
}

/// Processor and C library of the system.
fn system_of(
    root: &dyn Root,
    image: &Path,
    scratch: &Path,
) -> Result<(Architecture, Option<crate::elf::Glibc>), ImageError> {
    let copy = scratch.join("program");
    let fetch_program = |paths: &[String]| -> Result<Option<Program>, ImageError> {
        for path in paths {
            if root.fetch(path, &copy)? {
                return Ok(Some(Program::read(&copy)?));
            }
        }
        Ok(None)
    };
    let systemd = ["/usr/lib/systemd/systemd", "/lib/systemd/systemd"].map(str::to_owned);
    let program = fetch_program(&systemd)?.ok_or_else(|| ImageError::NoSystem { path: image.to_owned() })?;
    let multiarch = match program.architecture {
        Architecture::Aarch64 => "aarch64-linux-gnu",
        Architecture::Armv7 => "arm-linux-gnueabihf",
        Architecture::X86_64 => "x86_64-linux-gnu",
    };
    let folders = [
        format!("/usr/lib/{multiarch}"),
        format!("/lib/{multiarch}"),
        "/usr/lib64".into(),
        "/usr/lib".into(),
    ];
    let library = fetch_program(&folders.map(|folder| format!("{folder}/libc.so.6")))?;
    Ok((program.architecture, library.and_then(|library| library.defines_glibc)))
}

/// Entries in the making; texts lie in a folder until they are copied.
struct Tree<'a> {
    scratch: &'a Path,
    entries: Vec<Entry>,
}

impl Tree<'_> {
    /// A folder and those it lies in.
    fn folders(&mut self, path: &str) {
        let ends = path.match_indices('/').map(|(at, _)| at).skip(1).chain([path.len()]);
        for path in ends.filter_map(|end| path.get(..end)) {
            let entry = Entry { path: path.to_owned(), what: What::Folder };
            if !self.entries.contains(&entry) {
                self.entries.push(entry);
            }
        }
    }

    fn copy(&mut self, path: &str, source: &Path, mode: u32, sha256: &str) {
        let what = What::File { source: source.to_owned(), mode, sha256: sha256.to_owned() };
        self.entries.push(Entry { path: path.to_owned(), what });
    }

    fn text(&mut self, path: &str, text: &str) -> Result<(), ImageError> {
        let source = self.scratch.join(format!("text-{}", self.entries.len()));
        std::fs::write(&source, text)
            .map_err(|error| ImageError::Io { path: source.clone(), source: error })?;
        self.copy(path, &source, 0o644, &sha256(text.as_bytes()));
        Ok(())
    }

    fn link(&mut self, path: &str, target: &str) {
        self.entries.push(Entry { path: path.to_owned(), what: What::Link(target.to_owned()) });
    }
}

/// A system's root and where its firmware's settings are.
struct Place {
    root: Box<dyn Root>,
    boot: Boot,
    free_kib: Option<u64>,
}

enum Boot {
    Image { image: PathBuf, offset: u64 },
    Folder(PathBuf),
    Absent(&'static str),
}

impl Place {
    fn open(path: &Path, boot: Option<&Path>) -> Result<Self, ImageError> {
        let data =
            std::fs::metadata(path).map_err(|source| ImageError::Io { path: path.to_owned(), source })?;
        if data.is_dir() {
            let root = Box::new(folder::Folder::open(path)?);
            // The second is there where the card's boot partition is mounted as the board itself mounts it.
            let folders =
                [boot.map(Path::to_owned), Some(path.join("boot/firmware")), Some(path.join("boot"))];
            let boot = folders.into_iter().flatten().find(|folder| folder.join("config.txt").is_file());
            let absent = Boot::Absent("mount the card's boot partition and name its folder with --boot");
            return Ok(Self { root, boot: boot.map_or(absent, Boot::Folder), free_kib: None });
        }
        let found = partitions(path)?;
        let ext = found.iter().find_map(|partition| match partition.holds {
            Holds::Ext(ext) => Some((partition.offset, ext)),
            _ => None,
        });
        let Some((offset, ext)) = ext else {
            let found =
                if found.is_empty() { String::new() } else { format!(" in its {} partitions", found.len()) };
            return Err(ImageError::NoRoot { path: path.to_owned(), found });
        };
        if !ext.clean {
            return Err(ImageError::Unclean { path: path.to_owned(), offset });
        }
        let boot = found.iter().find(|partition| partition.holds == Holds::Fat);
        let boot = match boot {
            Some(boot) => Boot::Image { image: path.to_owned(), offset: boot.offset },
            None => Boot::Absent("is it an image for a Raspberry Pi?"),
        };
        Ok(Self { root: Box::new(ext::Ext4::open(path, offset)?), boot, free_kib: Some(ext.free_kib) })
    }

    fn has_room(&self, image: &Path, bytes: u64) -> Result<(), ImageError> {
        let needed_kib = bytes.div_ceil(1024) + SPARE_KIB;
        match self.free_kib {
            Some(found_kib) if found_kib < needed_kib => {
                Err(ImageError::Space { path: image.to_owned(), needed_kib, found_kib })
            }
            _ => Ok(()),
        }
    }

    /// The new text of `config.txt` and the lines that are new in it, where any are needed.
    fn config(
        &self,
        board: &sedge_boards::Board,
        scratch: &Path,
    ) -> Result<Option<(String, Vec<String>)>, ImageError> {
        let settings = boot::settings(board);
        if settings.is_empty() {
            return Ok(None);
        }
        let lines: Vec<String> = settings.iter().copied().map(boot::line).collect();
        let absent = |place: &str, remedy| ImageError::NoConfig {
            settings: lines.join(", "),
            place: place.to_owned(),
            remedy,
        };
        let path = match &self.boot {
            Boot::Absent(remedy) => return Err(absent("the card", remedy)),
            Boot::Folder(folder) => folder.join("config.txt"),
            Boot::Image { image, offset } => {
                let copy = scratch.join("config.txt");
                if !mcopy(image, *offset, &["::config.txt", "config.txt"], scratch)? {
                    return Err(absent("its boot partition", "is it an image for a Raspberry Pi?"));
                }
                copy
            }
        };
        let content = Content::open(&path, boot::MAX_CONFIG_BYTES).map_err(|error| match error {
            crate::DeployError::TooLarge { limit, .. } => ImageError::ConfigTooLarge { limit },
            other => other.into(),
        })?;
        let text = std::io::read_to_string(content.file)
            .map_err(|source| ImageError::Io { path: path.clone(), source })?;
        let Some(changed) = boot::with_settings(&text, &settings) else { return Ok(None) };
        let added = changed.get(text.len()..).unwrap_or_default();
        let new = lines.into_iter().filter(|line| added.lines().any(|other| other == line)).collect();
        Ok(Some((changed, new)))
    }

    fn write_config(&self, text: &str, scratch: &Path) -> Result<(), ImageError> {
        let io = |path: &Path| {
            let path = path.to_owned();
            move |source| ImageError::Io { path, source }
        };
        match &self.boot {
            Boot::Absent(_) => Ok(()),
            Boot::Folder(folder) => {
                let (path, beside) = (folder.join("config.txt"), folder.join("config.new"));
                std::fs::write(&beside, text).map_err(io(&beside))?;
                std::fs::File::open(&beside).and_then(|file| file.sync_all()).map_err(io(&beside))?;
                std::fs::rename(&beside, &path).map_err(io(&path))
            }
            Boot::Image { image, offset } => {
                let path = scratch.join("config.txt");
                std::fs::write(&path, text).map_err(io(&path))?;
                if mcopy(image, *offset, &["-o", "config.txt", "::config.txt"], scratch)? {
                    return Ok(());
                }
                let reason = "mcopy failed; is the boot partition full?".to_owned();
                Err(ImageError::Write { path: "config.txt".to_owned(), reason })
            }
        }
    }
}

/// Copies between a FAT partition of an image and the folder it runs in; false where it says no.
fn mcopy(image: &Path, offset: u64, words: &[&str], folder: &Path) -> Result<bool, ImageError> {
    let image =
        std::fs::canonicalize(image).map_err(|source| ImageError::Io { path: image.to_owned(), source })?;
    let mut place = image.into_os_string();
    place.push(format!("@@{offset}"));
    let mut command = Command::new("mcopy");
    command.arg("-n").arg("-i").arg(place).args(words).current_dir(folder);
    // Cards of other geometries than floppy disks are cards all the same.
    command.env("MTOOLS_SKIP_CHECK", "1").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let status = command.status();
    let status = status.map_err(|source| ImageError::Tool { program: "mcopy", package: "mtools", source })?;
    Ok(status.success())
}
