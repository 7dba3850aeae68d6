//! Cards written without root: an image with a partition table, a FAT and an ext4 file system made here by their own tools and
//! read back by them, and a folder as a mounted card.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, missing_docs)]

mod sandbox;

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use sandbox::{daemon, program};
use sedge_deploy::elf::Architecture;
use sedge_deploy::image::{ImageError, ImageOptions, Written, write};
use sedge_deploy::payload::{BoardFile, BundleFile, Daemon};
use sedge_deploy::{Prefix, Slot};

const MB: u64 = 1 << 20;
/// Where the partitions of the card begin: a FAT one and an ext4 one.
const BOOT: u64 = 4 * MB;
const ROOT: u64 = 20 * MB;
const CARD: u64 = 84 * MB;
const CONFIG: &str = "# Settings\n#dtparam=i2c_arm=on\ncamera_auto_detect=1\n[pi4]\narm_boost=1\n";

struct Card {
    folder: tempfile::TempDir,
}

/// The table that a card has.
#[derive(Clone, Copy, PartialEq)]
enum Table {
    Mbr,
    Gpt,
}

impl Card {
    /// A system's files: programs of this machine stand for those of the board.
    fn new() -> Self {
        let card = Self { folder: tempfile::tempdir().unwrap() };
        let tree = card.tree();
        for folder in
            ["etc/systemd/system", "opt", "usr/lib/systemd", "usr/lib/x86_64-linux-gnu", "boot/firmware"]
        {
            fs::create_dir_all(tree.join(folder)).unwrap();
        }
        symlink("usr/lib", tree.join("lib")).unwrap();
        fs::copy("/usr/bin/env", tree.join("usr/lib/systemd/systemd")).unwrap();
        card
    }

    fn tree(&self) -> PathBuf {
        self.folder.path().join("tree")
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("a card.img")
    }

    /// Makes the image of the tree; false, with a line that says so, where the tools are missing.
    fn make(&self, table: Table) -> bool {
        for (tool, package) in [
            ("mkfs.ext4", "e2fsprogs"),
            ("debugfs", "e2fsprogs"),
            ("e2fsck", "e2fsprogs"),
            ("mkfs.vfat", "dosfstools"),
            ("mcopy", "mtools"),
        ] {
            if program(tool).is_none() {
                eprintln!("SKIPPED: writing a card's image: there is no {tool} (apt install {package})");
                return false;
            }
        }
        let (root, boot) = (self.folder.path().join("root.fs"), self.folder.path().join("boot.fs"));
        sized(&root, CARD - ROOT - MB);
        run("mkfs.ext4", &["-q", "-F", "-d", self.tree().to_str().unwrap(), root.to_str().unwrap()]);
        sized(&boot, ROOT - BOOT);
        run("mkfs.vfat", &[boot.to_str().unwrap()]);
        let config = self.folder.path().join("config.txt");
        fs::write(&config, CONFIG).unwrap();
        run("mcopy", &["-i", boot.to_str().unwrap(), config.to_str().unwrap(), "::config.txt"]);
        let mut bytes = vec![0; CARD as usize];
        bytes[BOOT as usize..][..(ROOT - BOOT) as usize].copy_from_slice(&fs::read(&boot).unwrap());
        bytes[ROOT as usize..][..(CARD - ROOT - MB) as usize].copy_from_slice(&fs::read(&root).unwrap());
        let sectors = |bytes: u64| bytes / 512;
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        let parts = [(0x0c, BOOT, ROOT - BOOT), (0x83, ROOT, CARD - ROOT - MB)];
        if table == Table::Gpt {
            bytes[450] = 0xee;
            bytes[454..458].copy_from_slice(&1u32.to_le_bytes());
            bytes[458..462].copy_from_slice(&((CARD / 512 - 1) as u32).to_le_bytes());
            bytes[512..520].copy_from_slice(b"EFI PART");
            bytes[584..592].copy_from_slice(&2u64.to_le_bytes());
            bytes[592..596].copy_from_slice(&128u32.to_le_bytes());
            bytes[596..600].copy_from_slice(&128u32.to_le_bytes());
        }
        for (at, (kind, first, length)) in parts.into_iter().enumerate() {
            if table == Table::Mbr {
                let entry = &mut bytes[446 + 16 * at..][..16];
                entry[4] = kind;
                entry[8..12].copy_from_slice(&(sectors(first) as u32).to_le_bytes());
                entry[12..16].copy_from_slice(&(sectors(length) as u32).to_le_bytes());
            } else {
                let entry = &mut bytes[1024 + 128 * at..][..128];
                entry[..16].fill(kind);
                entry[32..40].copy_from_slice(&sectors(first).to_le_bytes());
                entry[40..48].copy_from_slice(&(sectors(first + length) - 1).to_le_bytes());
            }
        }
        fs::write(self.image(), bytes).unwrap();
        true
    }

    fn options(&self, image: &Path, behaviour: &str) -> ImageOptions {
        let path = self.folder.path().join(format!("{behaviour}.sedge"));
        fs::write(&path, format!("digest=00\nbehaviour={behaviour}\n")).unwrap();
        ImageOptions {
            image: image.to_owned(),
            boot: None,
            prefix: Prefix::default(),
            board: BoardFile::named_or_file("rpi4").unwrap(),
            daemon: Daemon::Prebuilt(daemon().to_owned()),
            bundle: BundleFile { path, digest: "00".to_owned() },
        }
    }

    /// The files of the image's ext4 file system, after its own checker has found nothing wrong with it.
    fn checked(&self, name: &str) -> PathBuf {
        let root = self.folder.path().join("back.fs");
        fs::write(&root, &fs::read(self.image()).unwrap()[ROOT as usize..(CARD - MB) as usize]).unwrap();
        let check = Command::new(program("e2fsck").unwrap()).arg("-fn").arg(&root).output().unwrap();
        assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stdout));
        let back = self.folder.path().join(name);
        fs::create_dir(&back).unwrap();
        run("debugfs", &["-R", &format!("rdump / {}", back.display()), root.to_str().unwrap()]);
        back
    }

    fn config(&self) -> String {
        let place = format!("{}@@{BOOT}", self.image().display());
        let output = Command::new("mtype").args(["-i", &place, "::config.txt"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    }
}

fn sized(path: &Path, bytes: u64) {
    fs::File::create(path).unwrap().set_len(bytes).unwrap();
}

fn run(tool: &str, words: &[&str]) {
    let output = Command::new(program(tool).unwrap()).args(words).output().unwrap();
    assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
}

/// That a slot is whole by the sums of its own files, and in service.
fn assert_slot(root: &Path, written: &Written, behaviour: &str) {
    let prefix = root.join("opt/sedge");
    let slot = written.slot.name();
    assert_eq!(fs::read_link(prefix.join("current")).unwrap(), Path::new(slot));
    let mut check = Command::new("sha256sum");
    let sums =
        check.args(["--check", "--strict", "SHA256SUMS"]).current_dir(prefix.join(slot)).output().unwrap();
    assert!(sums.status.success(), "{}", String::from_utf8_lossy(&sums.stderr));
    assert_eq!(String::from_utf8_lossy(&sums.stdout).lines().count(), 5);
    let bundle = fs::read_to_string(prefix.join(slot).join("bundle.sedge")).unwrap();
    assert!(bundle.contains(&format!("behaviour={behaviour}\n")));
    let mode = fs::metadata(prefix.join(slot).join("sedged")).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o755);
    let units = root.join("etc/systemd/system");
    assert_eq!(
        fs::read(units.join("sedged.service")).unwrap(),
        fs::read(prefix.join(slot).join("sedged.service")).unwrap()
    );
    for name in ["sedged.service", "sedge-prepare.service"] {
        let link = fs::read_link(units.join("multi-user.target.wants").join(name)).unwrap();
        assert_eq!(link, Path::new("..").join(name));
    }
    let users = fs::read_to_string(root.join("etc/sysusers.d/sedge.conf")).unwrap();
    assert!(users.starts_with("u sedge - ") && users.contains("m sedge i2c\n"));
    assert_eq!(fs::read_to_string(root.join("etc/modules-load.d/sedge.conf")).unwrap(), "i2c-dev\n");
    assert!(Command::new("sh").arg("-n").arg(prefix.join("settle")).status().unwrap().success());
}

fn image_twice(table: Table) {
    let card = Card::new();
    if !card.make(table) {
        return;
    }
    let first = write(&card.options(&card.image(), "well")).unwrap();
    assert_eq!((first.slot, first.architecture), (Slot::A, Architecture::X86_64));
    assert_eq!(first.config_lines, ["dtparam=i2c_arm=on"]);
    assert_slot(&card.checked("first"), &first, "well");
    let config = card.config();
    assert!(config.starts_with(CONFIG) && config.ends_with("\ndtparam=i2c_arm=on\n"), "{config}");
    // Again: into the other slot, and the settings are there already.
    let second = write(&card.options(&card.image(), "better")).unwrap();
    assert_eq!((second.slot, second.config_lines.len()), (Slot::B, 0));
    let back = card.checked("second");
    assert_slot(&back, &second, "better");
    assert!(fs::read_to_string(back.join("opt/sedge/a/bundle.sedge")).unwrap().contains("well"));
    assert_eq!(card.config(), config);
    let third = write(&card.options(&card.image(), "best")).unwrap();
    assert_slot(&card.checked("third"), &third, "best");
}

#[test]
fn an_image_with_an_mbr_is_written_and_passes_the_checker() {
    image_twice(Table::Mbr);
}

#[test]
fn an_image_with_a_gpt_is_written_and_passes_the_checker() {
    image_twice(Table::Gpt);
}

#[test]
fn a_mounted_card_gets_the_same_files() {
    let card = Card::new();
    let tree = card.tree();
    let error = write(&card.options(&tree, "well")).unwrap_err();
    assert!(error.to_string().contains("--boot"), "{error}");
    assert!(!tree.join("opt/sedge").exists(), "what is refused writes nothing");
    let boot = card.folder.path().join("bootfs");
    fs::create_dir(&boot).unwrap();
    fs::write(boot.join("config.txt"), CONFIG).unwrap();
    let options = |behaviour| ImageOptions { boot: Some(boot.clone()), ..card.options(&tree, behaviour) };
    let written = write(&options("well")).unwrap();
    assert_slot(&tree, &written, "well");
    assert!(fs::read_to_string(boot.join("config.txt")).unwrap().ends_with("dtparam=i2c_arm=on\n"));
    let again = write(&options("better")).unwrap();
    assert_eq!(again.slot, Slot::B);
    assert_slot(&tree, &again, "better");
    let left: Vec<_> =
        fs::read_dir(tree.join("opt/sedge")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left.len(), 4, "{left:?}");
}

#[test]
fn a_card_that_leads_out_of_itself_is_not_followed() {
    let card = Card::new();
    let outside = tempfile::tempdir().unwrap();
    fs::remove_dir(card.tree().join("opt")).unwrap();
    symlink(outside.path(), card.tree().join("opt")).unwrap();
    fs::write(card.tree().join("boot/firmware/config.txt"), CONFIG).unwrap();
    let error = write(&card.options(&card.tree(), "well")).unwrap_err();
    assert!(matches!(error, ImageError::LeadsOut { .. }), "{error}");
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn systems_that_cannot_carry_the_daemon_are_told_why() {
    let card = Card::new();
    let tree = card.tree();
    fs::write(tree.join("boot/firmware/config.txt"), CONFIG).unwrap();
    let stubs = Path::new("/usr/lib/x86_64-linux-gnu/libdl.so.2");
    if stubs.is_file() {
        // Defines versions of twenty years ago, and this test needs newer ones.
        fs::copy(stubs, tree.join("usr/lib/x86_64-linux-gnu/libc.so.6")).unwrap();
        let itself = Daemon::Prebuilt(std::env::current_exe().unwrap());
        let error = write(&ImageOptions { daemon: itself, ..card.options(&tree, "well") }).unwrap_err();
        assert!(matches!(error, ImageError::Glibc { .. }), "{error}");
    } else {
        eprintln!("SKIPPED: an old C library in an image (no libdl.so.2 here)");
    }
    let mut arm = fs::read("/usr/bin/env").unwrap();
    arm[18] = 183;
    fs::write(tree.join("usr/lib/systemd/systemd"), arm).unwrap();
    let error = write(&card.options(&tree, "well")).unwrap_err();
    assert!(error.to_string().contains("--target aarch64-unknown-linux-gnu"), "{error}");
    fs::remove_file(tree.join("usr/lib/systemd/systemd")).unwrap();
    assert!(matches!(write(&card.options(&tree, "well")), Err(ImageError::NoSystem { .. })));
    let empty = card.folder.path().join("empty.img");
    sized(&empty, MB);
    assert!(matches!(write(&card.options(&empty, "well")), Err(ImageError::NoRoot { .. })));
}

#[test]
fn an_image_that_is_full_or_was_not_unmounted_is_not_written() {
    let card = Card::new();
    if !card.make(Table::Mbr) {
        return;
    }
    let before = fs::read(card.image()).unwrap();
    let mut options = card.options(&card.image(), "well");
    sized(&options.bundle.path, 70 * MB);
    let error = write(&options).unwrap_err();
    assert!(matches!(error, ImageError::Space { .. }) && error.to_string().contains("resize2fs"), "{error}");
    assert!(before == fs::read(card.image()).unwrap(), "what is refused writes nothing");
    options = card.options(&card.image(), "well");
    let mut unclean = before.clone();
    unclean[ROOT as usize + 1024 + 96] |= 4;
    fs::write(card.image(), &unclean).unwrap();
    let error = write(&options).unwrap_err();
    assert!(matches!(error, ImageError::Unclean { offset: ROOT, .. }), "{error}");
    assert!(unclean == fs::read(card.image()).unwrap(), "what is refused writes nothing");
    // A folder where a file is to be.
    fs::create_dir_all(card.tree().join("opt/sedge/current")).unwrap();
    assert!(card.make(Table::Mbr));
    let error = write(&options).unwrap_err();
    assert!(matches!(error, ImageError::InTheWay { .. }), "{error}");
}
