//! The parts of a bundle as a POSIX tar archive, so that any `tar` can list and unpack one. Writing
//! is deterministic; reading takes exactly what writing gives and nothing else a tar can hold.

use std::ops::Range;

use sha2::{Digest, Sha256};
use tar::{Archive, Builder, EntryType, Header};

use super::error::BundleError;
use super::{MAX_BUNDLE_BYTES, PARTS, part_limit};

/// Unit of a tar archive.
const BLOCK: u64 = 512;
/// Zero bytes that end one.
const END_MARK: usize = 1024;

/// SHA-256 in lower-case hexadecimal.
pub(super) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Packs the parts, given in the order of [`PARTS`].
pub(super) fn pack(parts: [&[u8]; PARTS.len()]) -> Result<Vec<u8>, BundleError> {
    let io = |source| BundleError::Io { step: "packing the bundle", source };
    let total: usize = parts.iter().map(|part| part.len() + 2 * BLOCK as usize).sum();
    let mut builder = Builder::new(Vec::with_capacity(total + END_MARK));
    for (name, part) in PARTS.into_iter().zip(parts) {
        size(name, part.len() as u64, part_limit(name))?;
        let mut header = Header::new_ustar();
        header.set_path(name).map_err(io)?;
        header.set_size(part.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_entry_type(EntryType::Regular);
        header.set_cksum();
        builder.append(&header, part).map_err(io)?;
    }
    let bytes = builder.into_inner().map_err(io)?;
    size("the bundle", bytes.len() as u64, MAX_BUNDLE_BYTES)?;
    Ok(bytes)
}

/// The parts in the order of [`PARTS`], as slices of `bytes`.
pub(super) fn unpack(bytes: &[u8]) -> Result<[&[u8]; PARTS.len()], BundleError> {
    size("the bundle", bytes.len() as u64, MAX_BUNDLE_BYTES)?;
    let fault = |e: std::io::Error| BundleError::Archive { reason: e.to_string() };
    let mut parts = [&bytes[..0]; PARTS.len()];
    let mut seen = 0;
    let mut end = 0;
    let mut archive = Archive::new(bytes);
    for entry in archive.entries().map_err(fault)?.raw(true) {
        let entry = entry.map_err(fault)?;
        let name = entry_name(entry.header(), PARTS.get(seen).copied(), PARTS.get(..seen).unwrap_or(&[]))?;
        size(name, entry.size(), part_limit(name))?;
        let range = range(entry.raw_file_position(), entry.size());
        let truncated = || BundleError::Truncated { place: format!("`{name}`") };
        let part = range.and_then(|range| bytes.get(range)).ok_or_else(truncated)?;
        if let Some(slot) = parts.get_mut(seen) {
            *slot = part;
        }
        seen += 1;
        end = (entry.raw_file_position() + entry.size()).next_multiple_of(BLOCK);
    }
    if let Some(name) = PARTS.get(seen) {
        return Err(BundleError::MissingPart { name });
    }
    end_mark(bytes, end)?;
    Ok(parts)
}

/// The part that a header names, which must be `wanted`, the first one after those `seen`.
fn entry_name(
    header: &Header,
    wanted: Option<&'static str>,
    seen: &[&'static str],
) -> Result<&'static str, BundleError> {
    let path = String::from_utf8_lossy(&header.path_bytes()).into_owned();
    if header.entry_type() != EntryType::Regular || header.as_ustar().is_none() {
        return Err(BundleError::NotPlain { path, kind: kind(header.entry_type()) });
    }
    if path.contains(['/', '\\', ':', '\0']) || path == ".." || path == "." {
        return Err(BundleError::UnsafePath { path });
    }
    let Some(found) = PARTS.into_iter().find(|part| *part == path) else {
        return Err(BundleError::UnknownPart { name: path });
    };
    if seen.contains(&found) {
        return Err(BundleError::DuplicatePart { name: path });
    }
    match wanted {
        Some(wanted) if wanted == found => Ok(found),
        // Every part was seen, so this one was; the case above has answered.
        None => Err(BundleError::DuplicatePart { name: path }),
        Some(wanted) => Err(BundleError::PartOrder { found, wanted }),
    }
}

fn kind(entry: EntryType) -> String {
    match entry {
        EntryType::Regular => "of an older tar layout".into(),
        EntryType::Link => "a hard link".into(),
        EntryType::Symlink => "a symbolic link".into(),
        EntryType::Directory => "a folder".into(),
        EntryType::Char | EntryType::Block => "a device".into(),
        EntryType::Fifo => "a pipe".into(),
        other => format!("of tar type `{}`", char::from(other.as_byte()).escape_default()),
    }
}

fn size(what: &str, found: u64, limit: u64) -> Result<(), BundleError> {
    if found > limit { Err(BundleError::TooLarge { what: what.into(), found, limit }) } else { Ok(()) }
}

fn range(start: u64, length: u64) -> Option<Range<usize>> {
    let end = start.checked_add(length)?;
    Some(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

fn end_mark(bytes: &[u8], end: u64) -> Result<(), BundleError> {
    let rest = usize::try_from(end).ok().and_then(|end| bytes.get(end..)).unwrap_or(&[]);
    if let Some(at) = rest.iter().position(|byte| *byte != 0) {
        return Err(BundleError::TrailingBytes { offset: end + at as u64 });
    }
    if rest.len() < END_MARK {
        return Err(BundleError::Truncated { place: "its end mark".into() });
    }
    Ok(())
}
