#![allow(clippy::unwrap_used, clippy::panic)]

use proptest::prelude::*;

use super::table::TableError;
use super::{MessageError, Table};
use crate::serial::log::Level;

const STRINGS: &str = include_str!("golden/strings.txt");
const MESSAGES: &str = include_str!("golden/messages.txt");

/// Symbols as a linker leaves them.
fn symbols() -> Vec<(String, u64, bool)> {
    let mut symbols = vec![
        ("\"_defmt_version_ = 4\"".to_owned(), 0, false),
        ("_defmt_encoding_ = rzcobs".to_owned(), 0, false),
        ("$d.3".to_owned(), 0, true),
        (String::new(), 0, true),
    ];
    for line in STRINGS.lines() {
        let mut parts = line.splitn(3, '\t');
        let (index, tag) = (parts.next().unwrap().parse().unwrap(), parts.next().unwrap());
        let data = serde_json::to_string(parts.next().unwrap()).unwrap();
        symbols.push((
            format!(r#"{{"package":"p","tag":"{tag}","data":{data},"disambiguator":"{index}"}}"#),
            index,
            true,
        ));
    }
    symbols
}

fn table_of(symbols: &[(String, u64, bool)]) -> Result<Table, TableError> {
    Table::of_symbols(symbols.iter().map(|(name, address, is_string)| (name.as_str(), *address, *is_string)))
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits = (0..hexadecimal.len()).step_by(2);
    digits.map(|at| u8::from_str_radix(&hexadecimal[at..at + 2], 16).unwrap()).collect()
}

fn name(level: Level) -> &'static str {
    match level {
        Level::Trace => "trace",
        Level::Debug => "debug",
        Level::Info => "info",
        Level::Warn => "warn",
        Level::Error => "error",
    }
}

/// rzCOBS as its definition says it, from the front: runs of up to seven bytes with a map of their zeros, or longer
/// runs without a zero.
fn encoded(bytes: &[u8]) -> Vec<u8> {
    let (mut out, mut run, mut map) = (vec![], 0_u32, 0_u8);
    for &byte in bytes {
        if run < 7 {
            if byte == 0 {
                map |= 1 << run;
            } else {
                out.push(byte);
            }
            run += 1;
            if run == 7 && map != 0 {
                out.push(map);
                (run, map) = (0, 0);
            }
        } else if byte == 0 {
            out.push(u8::try_from(run - 7).unwrap() | 0x80);
            (run, map) = (0, 0);
        } else {
            out.push(byte);
            run += 1;
            if run == 134 {
                out.push(0xff);
                (run, map) = (0, 0);
            }
        }
    }
    match run {
        0 => {}
        1..=6 => out.push((map | (0xff << run)) & 0x7f),
        _ => out.push(u8::try_from(run - 7).unwrap() | 0x80),
    }
    out
}

#[test]
fn messages_read_as_defmts_own_decoder_reads_them() {
    let table = table_of(&symbols()).unwrap();
    let mut cases = 0;
    for case in MESSAGES.lines() {
        let (hexadecimal, wanted) = case.split_once('\t').unwrap();
        let line = table.line_of(&bytes(hexadecimal));
        let found = line.map_or("error".to_owned(), |line| {
            format!("{}\t{}\t{}", name(line.level), line.at, line.text.replace('\n', "\\n"))
        });
        assert_eq!(found, wanted, "{hexadecimal}");
        cases += 1;
    }
    assert!(cases > 25, "{cases}");
}

#[test]
fn a_message_is_the_same_after_its_encoding() {
    let table = table_of(&symbols()).unwrap();
    for case in MESSAGES.lines().filter(|case| !case.ends_with("error")) {
        let plain = bytes(case.split_once('\t').unwrap().0);
        let encoded = encoded(&plain);
        assert!(!encoded.contains(&0));
        // What fills up the last group is zeros, which no argument takes.
        assert_eq!(table.line(&encoded), table.line_of(&plain), "{case}");
    }
}

#[test]
fn what_is_wrong_with_a_program_is_said() {
    let mut other = symbols();
    other[0].0 = "_defmt_version_ = 9".to_owned();
    assert!(matches!(table_of(&other), Err(TableError::Version { found }) if found == "9"));
    other = symbols();
    other[1].0 = "_defmt_encoding_ = raw".to_owned();
    assert!(matches!(table_of(&other), Err(TableError::Encoding { found }) if found == "raw"));
    other = symbols();
    other[4].0 = "main".to_owned();
    assert!(matches!(table_of(&other), Err(TableError::Symbol { name }) if name == "main"));
    assert!(matches!(Table::of_elf(b"UF2\n"), Err(TableError::Elf(_))));
}

#[test]
fn formats_that_hold_themselves_end() {
    let string =
        |index: u64, tag: &str, data: &str| (format!(r#"{{"tag":"{tag}","data":"{data}"}}"#), index, true);
    let mut symbols = symbols();
    symbols.truncate(2);
    symbols.extend([
        string(1, "defmt_info", "{=?}"),
        string(2, "defmt_info", "{=[?]}"),
        string(3, "defmt_derived", "x"),
        string(4, "defmt_info", "{=u8:0999999999}"),
        string(5, "defmt_derived", "{=?}"),
    ]);
    let table = table_of(&symbols).unwrap();
    assert_eq!(table.line_of(&[&[1, 0][..], &[5, 0].repeat(40)].concat()), Err(MessageError::Large));
    // A list of four billion elements of no byte each.
    assert_eq!(table.line_of(&[2, 0, 0xff, 0xff, 0xff, 0xff, 3, 0]), Err(MessageError::Large));
    assert!(table.line_of(&[4, 0, 1]).map_or(true, |line| line.text.len() < 200));
}

#[test]
fn a_value_of_a_number_without_end_is_refused() {
    for data in ["{4000000000=u8}", "{18446744073709551615=u8}", "{99999999999999999999999=u8}"] {
        let mut symbols = symbols();
        symbols.truncate(2);
        symbols.push((format!(r#"{{"tag":"defmt_info","data":"{data}"}}"#), 1, true));
        let line = table_of(&symbols).unwrap().line_of(&[1, 0, 7]);
        assert!(matches!(line, Err(MessageError::Format { ref format, .. }) if format == data), "{line:?}");
    }
    let mut symbols = symbols();
    symbols.truncate(2);
    symbols.push((r#"{"tag":"defmt_info","data":"{{4000000000}} {=u8}"}"#.to_owned(), 1, true));
    assert_eq!(table_of(&symbols).unwrap().line_of(&[1, 0, 7]).unwrap().text, "{4000000000} 7");
    symbols[2].0 = format!(r#"{{"tag":"defmt_info","data":"{}"}}"#, "{}".repeat(5000));
    assert_eq!(table_of(&symbols).unwrap().line_of(&[1, 0]), Err(MessageError::Large));
}

/// The symbols in an ELF file for a microcontroller, of 32 bits and little-endian, as its specification lays it out.
fn elf(symbols: &[(String, u64, bool)]) -> Vec<u8> {
    const HEADER: u32 = 52;
    const ABSOLUTE: u16 = 0xfff1;
    let section_names = b"\0.defmt\0.symtab\0.strtab\0".to_vec();
    let (mut entries, mut names) = (vec![0_u8; 16], vec![0_u8]);
    for (name, address, is_string) in symbols {
        let address = u32::try_from(*address).unwrap();
        for word in [u32::try_from(names.len()).unwrap(), address, 1] {
            entries.extend(word.to_le_bytes());
        }
        // A global object.
        entries.extend([0x11, 0]);
        entries.extend(if *is_string { 1 } else { ABSOLUTE }.to_le_bytes());
        names.extend(name.as_bytes());
        names.push(0);
    }
    let (mut body, mut sections) = (vec![], vec![0_u8; 40]);
    // Name, kind, link to another section, number of its first global symbol, size of an entry.
    for (bytes, [name, kind, link, first, entry]) in [
        (vec![0; 256], [1, 1, 0, 0, 0]),
        (entries, [8, 2, 3, 1, 16]),
        (names, [16, 3, 0, 0, 0]),
        (section_names, [16, 3, 0, 0, 0]),
    ] {
        let (offset, size) =
            (HEADER + u32::try_from(body.len()).unwrap(), u32::try_from(bytes.len()).unwrap());
        for word in [name, kind, 0, 0, offset, size, link, first, 4, entry] {
            sections.extend(u32::to_le_bytes(word));
        }
        body.extend(bytes);
        body.resize(body.len().next_multiple_of(4), 0);
    }
    let table = HEADER + u32::try_from(body.len()).unwrap();
    let mut file = b"\x7fELF\x01\x01\x01".to_vec();
    file.resize(16, 0);
    // An executable for Arm.
    file.extend([2, 0, 40, 0]);
    for word in [1, 0, 0, table, 0] {
        file.extend(u32::to_le_bytes(word));
    }
    for half in [52_u16, 32, 0, 40, 5, 4] {
        file.extend(half.to_le_bytes());
    }
    file.extend(body);
    file.extend(sections);
    file
}

#[test]
fn the_strings_of_an_elf_file_are_those_of_its_symbols() {
    let (table, of_elf) = (table_of(&symbols()).unwrap(), Table::of_elf(&elf(&symbols())).unwrap());
    for case in MESSAGES.lines() {
        let plain = bytes(case.split_once('\t').unwrap().0);
        assert_eq!(of_elf.line_of(&plain), table.line_of(&plain), "{case}");
    }
    let mut unnamed = elf(&symbols());
    let at = unnamed.windows(7).position(|name| name == b".defmt\0").unwrap();
    unnamed[at + 1] = b'x';
    assert!(matches!(Table::of_elf(&unnamed), Err(TableError::NoSection)));
}

proptest! {
    #[test]
    fn a_program_with_broken_bytes_is_read_or_refused(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..20),
        length in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
        message in proptest::collection::vec(any::<u8>(), 0..60),
        index in 0_u16..27,
    ) {
        let mut program = elf(&symbols());
        for (at, byte) in changes {
            let at = at.index(program.len());
            program[at] = byte;
        }
        if is_cut {
            program.truncate(length.index(program.len()));
        }
        if let Ok(table) = Table::of_elf(&program) {
            let mut message = message;
            message.splice(0..0, index.to_le_bytes());
            let _ = table.line_of(&message);
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(message in proptest::collection::vec(any::<u8>(), 0..400), index in 0_u16..27) {
        let table = table_of(&symbols()).unwrap();
        let _ = table.line(&message);
        let mut message = message;
        message.splice(0..0, index.to_le_bytes());
        let _ = table.line_of(&message);
    }
}
