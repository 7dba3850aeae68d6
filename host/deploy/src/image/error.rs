//! What can go wrong with a card's image.

use std::path::PathBuf;

use crate::DeployError;
use crate::elf::{Architecture, Glibc};

/// An image that was not written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// A file cannot be read or written.
    #[error("cannot read or write {}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// No partition holds a system.
    #[error(
        "{} holds no ext2, ext3 or ext4 file system{found}; give an image of a whole card, such as Raspberry Pi OS \
         unpacked to .img, or the folder where a card's root is mounted", path.display()
    )]
    NoRoot {
        /// The image.
        path: PathBuf,
        /// The partitions there are, in words.
        found: String,
    },
    /// The partition table contradicts itself or the file's size.
    #[error("the partition table of {} is damaged: {reason}", path.display())]
    Table {
        /// The image.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file system was not unmounted.
    #[error(
        "the file system in {} was not cleanly unmounted; unmount it, or mend it with `e2fsck -p '{}?offset={offset}'`",
        path.display(), path.display()
    )]
    Unclean {
        /// The image.
        path: PathBuf,
        /// Where the file system begins, in bytes.
        offset: u64,
    },
    /// The file system is too full.
    #[error(
        "the system in {} has {found_kib} KiB free, needed are {needed_kib}; make it larger: `truncate -s +1G`, \
         `parted resizepart`, `resize2fs`", path.display()
    )]
    Space {
        /// The image.
        path: PathBuf,
        /// What is needed.
        needed_kib: u64,
        /// What there is.
        found_kib: u64,
    },
    /// A program that does the work is not there.
    #[error("cannot start {program}: {source}; it comes with {package} (Debian: apt install {package})")]
    Tool {
        /// The program.
        program: &'static str,
        /// The package that has it.
        package: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file in the image cannot be written.
    #[error("{path} cannot be written in the image: {reason}")]
    Write {
        /// The file, in the image.
        path: String,
        /// What was said.
        reason: String,
    },
    /// There is something else where a file or folder is to be.
    #[error("{path} of the image is {found}; it must be {wanted}, or not there")]
    InTheWay {
        /// The path, in the image.
        path: String,
        /// What is there.
        found: &'static str,
        /// What is to be there.
        wanted: &'static str,
    },
    /// A path of a mounted card leads out of it.
    #[error("{path} of the card leads out of it, to {}", to.display())]
    LeadsOut {
        /// The path, on the card.
        path: String,
        /// Where it leads.
        to: PathBuf,
    },
    /// No systemd in it.
    #[error("{} has no systemd (usr/lib/systemd/systemd); is it the root of a system?", path.display())]
    NoSystem {
        /// The image or folder.
        path: PathBuf,
    },
    /// The daemon is for another processor.
    #[error("the daemon is for {built}, the image for {wanted}; build it with --target {}", wanted.triple())]
    Architecture {
        /// What the daemon is for.
        built: Architecture,
        /// What the image's programs are for.
        wanted: Architecture,
    },
    /// The daemon needs a newer C library.
    #[error(
        "the daemon needs glibc {needed}, the image has {found}; build it on an older system or take a newer image"
    )]
    Glibc {
        /// The newest version needed.
        needed: Glibc,
        /// The image's.
        found: Glibc,
    },
    /// The board's buses must be switched on in a file that is not there.
    #[error(
        "the board's devices must be switched on in config.txt ({settings}), and {place} has none; {remedy}"
    )]
    NoConfig {
        /// What was to be set.
        settings: String,
        /// Where it was looked for.
        place: String,
        /// What to do.
        remedy: &'static str,
    },
    /// `config.txt` is too large to be one.
    #[error("config.txt is over {limit} bytes")]
    ConfigTooLarge {
        /// The most that is read, in bytes.
        limit: u64,
    },
    /// What both ways of deployment share.
    #[error(transparent)]
    Deploy(#[from] DeployError),
}
