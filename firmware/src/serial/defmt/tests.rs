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
    let nested = |index: u64, data: &str| (format!(r#"{{"tag":"defmt_info","data":"{data}"}}"#), index, true);
    let mut symbols = symbols();
    symbols.truncate(2);
    symbols.extend([nested(1, "{=?}"), nested(2, "{=[?]}"), nested(3, "x"), nested(4, "{=u8:0999999999}")]);
    let table = table_of(&symbols).unwrap();
    assert_eq!(table.line_of(&[1, 0].repeat(40)), Err(MessageError::Large));
    // A list of four billion elements of no byte each.
    assert_eq!(table.line_of(&[2, 0, 0xff, 0xff, 0xff, 0xff, 3, 0]), Err(MessageError::Large));
    assert!(table.line_of(&[4, 0, 1]).map_or(true, |line| line.text.len() < 200));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(message in proptest::collection::vec(any::<u8>(), 0..400), index in 0_u16..26) {
        let table = table_of(&symbols()).unwrap();
        let _ = table.line(&message);
        let mut message = message;
        message.splice(0..0, index.to_le_bytes());
        let _ = table.line_of(&message);
    }
}
