//! What programs need, against `readelf` of binutils.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;

use sedge_deploy::elf::{Architecture, Glibc, NotRunnable, Program};

/// `GLIBC_` versions in the lines of one kind of table, as readelf shows them.
fn newest(readelf: &str, table: &str) -> Option<Glibc> {
    let section = readelf.split("\n\n").find(|section| section.contains(table))?;
    let definitions = table.contains("definition");
    let words =
        section.lines().filter(|line| !definitions || line.contains("Rev:")).flat_map(str::split_whitespace);
    words.filter_map(|word| Glibc::from_line(word.strip_prefix("GLIBC_")?)).max()
}

fn readelf(path: &Path) -> Option<String> {
    let output = Command::new("readelf")
        .args(["--wide", "--file-header", "--version-info"])
        .arg(path)
        .output()
        .ok()?;
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn machines_and_libraries_are_those_that_readelf_names() {
    let ours = std::env::current_exe().unwrap();
    let names = [
        "/bin/sh",
        "/usr/bin/ssh",
        "/usr/bin/env",
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
        "/usr/aarch64-linux-gnu/lib/libc.so.6",
        "/usr/aarch64-linux-gnu/lib/libm.so.6",
        "/usr/arm-linux-gnueabihf/lib/libc.so.6",
        "/usr/bin/busybox",
    ];
    let files: Vec<PathBuf> =
        [ours].into_iter().chain(names.map(PathBuf::from)).filter(|path| path.is_file()).collect();
    let mut architectures = vec![];
    for path in files {
        let Some(said) = readelf(&path) else {
            eprintln!("SKIPPED: readelf as oracle of ELF files (apt install binutils)");
            return;
        };
        let program = Program::read(&path).unwrap();
        let machine = said.lines().find_map(|line| line.trim().strip_prefix("Machine:")).unwrap().trim();
        let expected = match machine {
            "AArch64" => Architecture::Aarch64,
            "ARM" => Architecture::Armv7,
            "Advanced Micro Devices X86-64" => Architecture::X86_64,
            other => panic!("{other}"),
        };
        assert_eq!(program.architecture, expected, "{}", path.display());
        assert_eq!(program.needs_glibc, newest(&said, "Version needs section"), "{}", path.display());
        assert_eq!(program.defines_glibc, newest(&said, "Version definition section"), "{}", path.display());
        architectures.push(program.architecture);
    }
    if !architectures.contains(&Architecture::Aarch64) {
        eprintln!("SKIPPED: ELF files of ARM (apt install libc6-arm64-cross)");
    }
}

#[test]
fn what_is_no_program_for_a_board_is_refused() {
    let bytes = std::fs::read(std::env::current_exe().unwrap()).unwrap();
    assert_eq!(Program::from_bytes(b""), Err(NotRunnable::NotElf));
    assert_eq!(Program::from_bytes(b"#!/bin/sh\n"), Err(NotRunnable::NotElf));
    let mut sparc = bytes.clone();
    sparc[18..20].copy_from_slice(&43u16.to_le_bytes());
    assert_eq!(Program::from_bytes(&sparc), Err(NotRunnable::Machine(43)));
    // An object file has nothing that could be loaded.
    let mut object = bytes;
    object[56..58].fill(0);
    assert!(matches!(Program::from_bytes(&object), Err(NotRunnable::Damaged(_))));
}

/// Headers that lie, in their first kilobyte and in their tables, are answered and not followed out of the file.
#[test]
fn damaged_headers_are_answered() {
    let path = ["/usr/bin/env", "/bin/sh"].map(Path::new).into_iter().find(|path| path.is_file()).unwrap();
    let bytes = std::fs::read(path).unwrap();
    let table = bytes.len().saturating_sub(2048);
    // Numerical Recipes' generator: every run damages the same bytes.
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize
    };
    let mut answered = [0, 0];
    for round in 0..400 {
        let mut copy = bytes.clone();
        for _ in 0..4 {
            let at = if next() % 2 == 0 { next() % 1024 } else { table + next() % 2048 };
            if let Some(byte) = copy.get_mut(at) {
                *byte = next() as u8;
            }
        }
        if round % 4 == 0 {
            copy.truncate(next() % bytes.len());
        }
        answered[usize::from(Program::from_bytes(&copy).is_ok())] += 1;
    }
    assert!(answered[0] > 20 && answered[1] > 20, "{answered:?}");
}

#[test]
fn versions_are_read_as_systems_write_them() {
    for (line, expected) in [
        ("glibc 2.36", Some((2, 36))),
        ("ldd (Debian GLIBC 2.36-9+deb12u14) 2.36", Some((2, 36))),
        ("ldd (GNU libc) 2.17", Some((2, 17))),
        ("2.2.5", Some((2, 2))),
        ("musl libc (aarch64)", None),
        ("", None),
    ] {
        assert_eq!(Glibc::from_line(line), expected.map(|(major, minor)| Glibc { major, minor }), "{line}");
    }
    assert!(Glibc { major: 2, minor: 9 } < Glibc { major: 2, minor: 36 });
    for (machine, bits, expected) in [
        ("aarch64", Some(64), Some(Architecture::Aarch64)),
        ("aarch64", None, Some(Architecture::Aarch64)),
        ("aarch64", Some(32), Some(Architecture::Armv7)),
        ("armv7l", Some(32), Some(Architecture::Armv7)),
        // Version 6, of the first Zero and the first Pi, has too few instructions.
        ("armv6l", Some(32), None),
        ("x86_64", Some(64), Some(Architecture::X86_64)),
        ("x86_64", Some(32), None),
        ("riscv64", Some(64), None),
    ] {
        assert_eq!(Architecture::from_uname(machine, bits), expected, "{machine} {bits:?}");
    }
}
