//! Where the file systems of an image begin: the partition tables of cards, MBR and GPT, and what each partition holds.
//!
//! Checksums of a GPT are not looked at. A table that lies leads to a place where no file system's own mark is, and what
//! bears none is never written.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::ImageError;

/// Bytes of a sector, of every card.
const SECTOR: u64 = 512;
/// Most entries of a GPT that are read; the standard's own number is 128.
const MAX_ENTRIES: u32 = 256;
/// Largest size of an entry of a GPT, in bytes; the standard's own is 128.
const MAX_ENTRY_BYTES: u32 = 1024;
/// Where an ext file system's superblock lies in it.
const SUPERBLOCK: u64 = 1024;

/// What a partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Holds {
    /// ext2, ext3 or ext4.
    Ext(Ext),
    /// FAT12, FAT16 or FAT32.
    Fat,
    /// Something else.
    Other,
}

/// What an ext superblock says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ext {
    /// KiB that are free.
    pub(super) free_kib: u64,
    /// Whether its journal has nothing left to replay.
    pub(super) clean: bool,
}

/// A partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Partition {
    /// Where it begins, in bytes.
    pub(super) offset: u64,
    /// What it holds.
    pub(super) holds: Holds,
}

/// The partitions of an image in the order of its table; one at its beginning where it is a file system by itself.
pub(super) fn partitions(path: &Path) -> Result<Vec<Partition>, ImageError> {
    let io = |source| ImageError::Io { path: path.to_owned(), source };
    let damaged = |reason: String| ImageError::Table { path: path.to_owned(), reason };
    let mut image = File::open(path).map_err(io)?;
    let size = image.metadata().map_err(io)?.len();
    let whole = holds(&mut image, 0).map_err(io)?;
    if matches!(whole, Holds::Ext(_)) {
        return Ok(vec![Partition { offset: 0, holds: whole }]);
    }
    let mbr = read(&mut image, 0, SECTOR as usize).map_err(io)?;
    if mbr.get(510..512) != Some(&[0x55, 0xaa]) {
        return Ok(vec![]);
    }
    let entries: Vec<&[u8]> = mbr.get(446..510).unwrap_or_default().chunks(16).collect();
    // A protective entry says that the table that counts is a GPT.
    let protective = entries.iter().any(|entry| entry.get(4) == Some(&0xee));
    let ranges =
        if protective { gpt(&mut image).map_err(io)?.map_err(damaged)? } else { mbr_ranges(&entries) };
    let mut partitions = vec![];
    for (first, sectors) in ranges {
        let end = first.checked_add(sectors).and_then(|end| end.checked_mul(SECTOR));
        if first == 0 || end.is_none_or(|end| end > size) {
            return Err(damaged(format!(
                "a partition of {sectors} sectors at {first} lies outside of its {} sectors",
                size / SECTOR
            )));
        }
        let offset = first * SECTOR;
        partitions.push(Partition { offset, holds: holds(&mut image, offset).map_err(io)? });
    }
    Ok(partitions)
}

/// First sector and number of sectors of each primary partition. Logical ones are in none of the systems for boards.
fn mbr_ranges(entries: &[&[u8]]) -> Vec<(u64, u64)> {
    let used = entries.iter().filter(|entry| !matches!(entry.get(4), None | Some(0x00 | 0x05 | 0x0f | 0x85)));
    used.map(|entry| (u64::from(u32_at(entry, 8)), u64::from(u32_at(entry, 12)))).collect()
}

/// The same of a GPT, or what is wrong with it.
fn gpt(image: &mut File) -> std::io::Result<Result<Vec<(u64, u64)>, String>> {
    let header = read(image, SECTOR, 92)?;
    if header.get(..8) != Some(b"EFI PART") {
        return Ok(Err("its MBR speaks of a GPT, and there is none".into()));
    }
    let (first, count, bytes) = (u64_at(&header, 72), u32_at(&header, 80), u32_at(&header, 84));
    if count > MAX_ENTRIES || !(128..=MAX_ENTRY_BYTES).contains(&bytes) {
        return Ok(Err(format!(
            "its GPT has {count} entries of {bytes} bytes; at most {MAX_ENTRIES} of 128 to {MAX_ENTRY_BYTES} are read"
        )));
    }
    let Some(at) = first.checked_mul(SECTOR) else { return Ok(Err("its GPT lies outside of it".into())) };
    let table = read(image, at, count as usize * bytes as usize)?;
    let used = table.chunks(bytes as usize).filter(|entry| entry.iter().take(16).any(|byte| *byte != 0));
    let mut ranges = vec![];
    for entry in used {
        let (first, last) = (u64_at(entry, 32), u64_at(entry, 40));
        match last.checked_sub(first).and_then(|sectors| sectors.checked_add(1)) {
            Some(sectors) => ranges.push((first, sectors)),
            None => return Ok(Err(format!("a partition ends at {last}, before its beginning at {first}"))),
        }
    }
    Ok(Ok(ranges))
}

fn holds(image: &mut File, offset: u64) -> std::io::Result<Holds> {
    let block = read(image, offset + SUPERBLOCK, 1024)?;
    if block.get(56..58) == Some(&[0x53, 0xef]) {
        let block_kib =
            1u64.checked_shl(u32_at(&block, 24)).filter(|kib| (1..=64).contains(kib)).unwrap_or(1);
        // The high half of the number of free blocks is there only with 64-bit block numbers.
        let (incompatible, high) = (u32_at(&block, 96), u64::from(u32_at(&block, 0x158)));
        let high = if incompatible & 0x80 == 0 { 0 } else { high };
        let free_blocks = high << 32 | u64::from(u32_at(&block, 12));
        // s_state: valid; and the journal wants no recovery.
        let clean = block.get(58).is_some_and(|state| state & 1 == 1) && incompatible & 0x4 == 0;
        return Ok(Holds::Ext(Ext { free_kib: free_blocks.saturating_mul(block_kib), clean }));
    }
    let boot = read(image, offset, SECTOR as usize)?;
    let fat = [54, 82].iter().any(|at| boot.get(*at..*at + 3) == Some(b"FAT"));
    Ok(if fat { Holds::Fat } else { Holds::Other })
}

/// Up to so many bytes, fewer where the file ends.
fn read(image: &mut File, at: u64, bytes: usize) -> std::io::Result<Vec<u8>> {
    let mut read = vec![];
    image.seek(SeekFrom::Start(at))?;
    image.take(bytes as u64).read_to_end(&mut read)?;
    Ok(read)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let bytes = bytes.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
    bytes.map_or(0, u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// An image with one partition table and marks of file systems where they are to be found.
    fn image(table: impl FnOnce(&mut [u8])) -> tempfile::NamedTempFile {
        let mut bytes = vec![0; 4096 * 512];
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        bytes[2048 * 512 + 82..][..5].copy_from_slice(b"FAT32");
        let superblock = &mut bytes[3072 * 512 + 1024..][..1024];
        superblock[56..58].copy_from_slice(&[0x53, 0xef]);
        superblock[12..16].copy_from_slice(&1000u32.to_le_bytes());
        superblock[24] = 2;
        superblock[58] = 1;
        table(&mut bytes);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        file
    }

    fn mbr_entry(bytes: &mut [u8], at: usize, kind: u8, first: u32, sectors: u32) {
        let entry = &mut bytes[446 + 16 * at..][..16];
        entry[4] = kind;
        entry[8..12].copy_from_slice(&first.to_le_bytes());
        entry[12..16].copy_from_slice(&sectors.to_le_bytes());
    }

    fn gpt_entry(bytes: &mut [u8], at: usize, first: u64, last: u64) {
        let entry = &mut bytes[1024 + 128 * at..][..128];
        entry[0] = 1;
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&last.to_le_bytes());
    }

    fn gpt_header(bytes: &mut [u8], count: u32, size: u32) {
        mbr_entry(bytes, 0, 0xee, 1, 4095);
        bytes[512..520].copy_from_slice(b"EFI PART");
        bytes[512 + 72..][..8].copy_from_slice(&2u64.to_le_bytes());
        bytes[512 + 80..][..4].copy_from_slice(&count.to_le_bytes());
        bytes[512 + 84..][..4].copy_from_slice(&size.to_le_bytes());
    }

    const EXPECTED: [Partition; 2] = [
        Partition { offset: 2048 * 512, holds: Holds::Fat },
        Partition { offset: 3072 * 512, holds: Holds::Ext(Ext { free_kib: 4000, clean: true }) },
    ];

    #[test]
    fn both_kinds_of_table_are_read() {
        let mbr = image(|bytes| {
            mbr_entry(bytes, 0, 0x0c, 2048, 1024);
            mbr_entry(bytes, 1, 0x83, 3072, 1024);
        });
        assert_eq!(partitions(mbr.path()).unwrap(), EXPECTED);
        let gpt = image(|bytes| {
            gpt_header(bytes, 8, 128);
            gpt_entry(bytes, 0, 2048, 3071);
            gpt_entry(bytes, 5, 3072, 4095);
        });
        assert_eq!(partitions(gpt.path()).unwrap(), EXPECTED);
    }

    #[test]
    fn a_journal_with_something_to_replay_is_seen() {
        let unclean = image(|bytes| {
            mbr_entry(bytes, 0, 0x83, 3072, 1024);
            bytes[3072 * 512 + 1024 + 96] = 4;
        });
        let found = partitions(unclean.path()).unwrap();
        assert_eq!(found[0].holds, Holds::Ext(Ext { free_kib: 4000, clean: false }));
    }

    #[test]
    fn tables_that_lie_are_answered() {
        let outside = image(|bytes| mbr_entry(bytes, 0, 0x83, 3072, 1025));
        assert!(matches!(partitions(outside.path()), Err(ImageError::Table { .. })));
        let backwards = image(|bytes| {
            gpt_header(bytes, 8, 128);
            gpt_entry(bytes, 0, 3071, 2048);
        });
        assert!(partitions(backwards.path()).unwrap_err().to_string().contains("before its beginning"));
        for (count, size) in [(u32::MAX, 128), (8, 1 << 30), (8, 0)] {
            let huge = image(|bytes| gpt_header(bytes, count, size));
            assert!(partitions(huge.path()).unwrap_err().to_string().contains("at most"));
        }
        let absent = image(|bytes| mbr_entry(bytes, 0, 0xee, 1, 4095));
        assert!(partitions(absent.path()).unwrap_err().to_string().contains("there is none"));
        let no_table = image(|bytes| bytes[510] = 0);
        assert_eq!(partitions(no_table.path()).unwrap(), []);
        let empty = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(partitions(empty.path()).unwrap(), []);
    }
}
