//! Debian's kernel for 64-bit ARM, its device tree and a busybox, fetched once and unpacked without being
//! installed; and the first file system that the emulated machine boots from.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::error::TaskError;
use crate::toolchain::{INSTALL, finish, need};

/// Modules for the bus, the card, the test camera and the card's file system, in the order of need.
const MODULES: [&str; 7] =
    ["i2c-bcm2835", "i2c-dev", "vivid", "bcm2835", "sdhci-iproc", "crc32c_generic", "ext4"];
/// The Pi's device tree in Debian's package.
const DEVICE_TREE: &str = "broadcom/bcm2837-rpi-3-b.dtb";
/// Libraries that the daemon is linked with, from Debian's cross packages.
const LIBRARIES: [&str; 4] = ["ld-linux-aarch64.so.1", "libc.so.6", "libm.so.6", "libgcc_s.so.1"];
pub(super) const LIBRARY_FOLDER: &str = "/usr/aarch64-linux-gnu/lib";

/// What the emulated machine boots.
#[derive(Debug)]
pub(super) struct Boot {
    pub(super) kernel: PathBuf,
    pub(super) device_tree: PathBuf,
    pub(super) ramdisk: PathBuf,
}

/// Fetches what is not there yet, and packs the first file system.
pub(super) fn prepare(work: &Path) -> Result<Boot, TaskError> {
    let root = work.join("debian");
    if !root.join("complete").is_file() {
        fetch(work, &root)?;
    }
    let modules = root.join("lib/modules");
    let version = only_entry(&modules)?;
    let boot = Boot {
        kernel: root.join(format!("boot/vmlinuz-{version}")),
        device_tree: root.join(format!("usr/lib/linux-image-{version}")).join(DEVICE_TREE),
        ramdisk: work.join("ramdisk.gz"),
    };
    pack(work, &root, &modules.join(&version), &boot.ramdisk)?;
    Ok(boot)
}

fn fetch(work: &Path, root: &Path) -> Result<(), TaskError> {
    let packages = work.join("packages");
    fs::create_dir_all(&packages).map_err(TaskError::io("cannot make", &packages))?;
    let depends = finish(Command::new(need("apt-cache")?).args(["depends", "linux-image-arm64:arm64"]));
    let depends = depends.map(|out| String::from_utf8_lossy(&out).into_owned()).unwrap_or_default();
    let image = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    let image = image.filter(|name| name.starts_with("linux-image-")).ok_or_else(no_packages)?;
    let image = if image.ends_with(":arm64") { image.to_owned() } else { format!("{image}:arm64") };
    let mut download = Command::new(need("apt-get")?);
    download.current_dir(&packages).args(["download", "-q", &image, "busybox-static:arm64"]);
    finish(&mut download)?;
    for entry in fs::read_dir(&packages).map_err(TaskError::io("cannot read", &packages))?.flatten() {
        finish(Command::new(need("dpkg")?).arg("-x").arg(entry.path()).arg(root))?;
    }
    let modules = root.join("lib/modules");
    let version = only_entry(&modules)?;
    finish(Command::new(need("depmod")?).arg("-b").arg(root).arg(&version))?;
    let complete = root.join("complete");
    fs::write(&complete, "").map_err(TaskError::io("cannot write", &complete))
}

fn no_packages() -> TaskError {
    TaskError::Missing { what: "Debian's package lists for the architecture arm64".into(), mend: INSTALL }
}

fn only_entry(folder: &Path) -> Result<String, TaskError> {
    let mut entries = fs::read_dir(folder).map_err(TaskError::io("cannot read", folder))?.flatten();
    let first = entries.next().map(|entry| entry.file_name().to_string_lossy().into_owned());
    first.ok_or_else(no_packages)
}

/// Writes the first file system: busybox, the C library, the modules and what starts them.
fn pack(work: &Path, root: &Path, modules: &Path, ramdisk: &Path) -> Result<(), TaskError> {
    let tree = work.join("ramdisk");
    if tree.exists() {
        fs::remove_dir_all(&tree).map_err(TaskError::io("cannot empty", &tree))?;
    }
    for folder in ["bin", "proc", "sys", "dev", "run", "tmp", "data", "lib", "modules", "etc"] {
        let folder = tree.join(folder);
        fs::create_dir_all(&folder).map_err(TaskError::io("cannot make", &folder))?;
    }
    copy(&root.join("bin/busybox"), &tree.join("bin/busybox"))?;
    for library in LIBRARIES {
        let from = Path::new(LIBRARY_FOLDER).join(library);
        if !from.is_file() {
            let what =
                format!("`{}` of Debian's libc6-arm64-cross and libgcc-s1-arm64-cross", from.display());
            return Err(TaskError::Missing { what, mend: INSTALL });
        }
        copy(&from, &tree.join("lib").join(library))?;
    }
    let order = copy_modules(modules, &tree.join("modules"))?;
    let init = tree.join("init");
    let text = include_str!("init.sh").replace("@MODULES@", &order.join(" "));
    fs::write(&init, text).map_err(TaskError::io("cannot write", &init))?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755))
        .map_err(TaskError::io("cannot make executable", &init))?;
    archive(&tree, ramdisk)
}

fn copy(from: &Path, to: &Path) -> Result<(), TaskError> {
    fs::copy(from, to).map(|_| ()).map_err(TaskError::io("cannot copy", from))
}

/// Copies the modules with all that they need, and gives their names in an order that can be inserted.
fn copy_modules(modules: &Path, into: &Path) -> Result<Vec<String>, TaskError> {
    let list = modules.join("modules.dep");
    let dependencies = fs::read_to_string(&list).map_err(TaskError::io("cannot read", &list))?;
    let mut order: Vec<String> = vec![];
    for module in MODULES {
        let ending = format!("/{module}.ko");
        let line =
            dependencies.lines().find(|line| line.split(':').next().is_some_and(|f| f.ends_with(&ending)));
        let Some((file, needs)) = line.and_then(|line| line.split_once(':')) else {
            let found = format!("{} has no {module}", list.display());
            return Err(TaskError::Claim { claim: "Debian's kernel has the modules of a Pi", found });
        };
        // modules.dep names the nearest need first, so the farthest is inserted first.
        for path in needs.split_whitespace().rev().chain([file]) {
            let name = Path::new(path).file_name().unwrap_or_default().to_string_lossy().into_owned();
            if !order.contains(&name) {
                copy(&modules.join(path), &into.join(&name))?;
                order.push(name);
            }
        }
    }
    Ok(order)
}

/// A compressed archive of a folder, as the kernel unpacks it.
fn archive(tree: &Path, to: &Path) -> Result<(), TaskError> {
    need("cpio")?;
    let file = fs::File::create(to).map_err(TaskError::io("cannot write", to))?;
    let mut command = Command::new("sh");
    command.current_dir(tree).args(["-c", "find . | cpio -o -H newc --quiet | gzip -1"]);
    let program = format!("{command:?}");
    let status = command.stdout(Stdio::from(file)).status();
    let status = status.map_err(|source| TaskError::Start { program: program.clone(), source })?;
    if status.success() {
        return Ok(());
    }
    Err(TaskError::Program { program, status: status.to_string(), said: String::new() })
}
