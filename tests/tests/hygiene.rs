//! What every file of the repository must be, checked by reading them: no tool of its own, no list of
//! files to keep. Each test names every offender at once, with its line.
#![allow(clippy::unwrap_used, clippy::panic, missing_docs)]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// Longest source file. One that grows beyond it holds more than one idea.
const MAX_LINES: usize = 500;
/// Files that people write, by extension.
const WRITTEN: [&str; 7] = ["rs", "py", "toml", "md", "css", "html", "sh"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

/// Every written file of the repository as (path from its root, text).
fn written() -> Vec<(String, String)> {
    let root = root();
    let mut files = vec![];
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let is_hidden = name.starts_with('.') && name != ".ci";
            if path.is_symlink() || is_hidden || ["target", "runs", "quickstart"].contains(&name.as_str()) {
                continue;
            }
            let is_script = path.parent() == Some(&root.join(".ci"));
            let is_written =
                path.extension().and_then(OsStr::to_str).is_some_and(|e| WRITTEN.contains(&e)) || is_script;
            if path.is_dir() {
                folders.push(path);
            } else if is_written {
                let text = std::fs::read_to_string(&path).unwrap();
                files.push((path.strip_prefix(&root).unwrap().display().to_string(), text));
            }
        }
    }
    files.sort();
    assert!(files.len() > 100, "the walk found only {} files", files.len());
    files
}

fn sources() -> impl Iterator<Item = (String, String)> {
    written().into_iter().filter(|(path, _)| !path.ends_with(".md"))
}

/// `path:line: text` of every line that holds one of `words`.
fn lines_with(files: impl Iterator<Item = (String, String)>, words: &[String]) -> Vec<String> {
    let found = |(path, text): (String, String)| {
        let lines = text.lines().enumerate().filter(|(_, line)| words.iter().any(|w| line.contains(w)));
        lines.map(|(at, line)| format!("{path}:{}: {}", at + 1, line.trim())).collect::<Vec<_>>()
    };
    files.flat_map(found).collect()
}

fn none(offenders: &[String], why: &str) {
    assert!(offenders.is_empty(), "{why}:\n{}", offenders.join("\n"));
}

#[test]
fn files_stay_small() {
    let long = sources().filter_map(|(path, text)| {
        let lines = text.lines().count();
        (lines > MAX_LINES).then(|| format!("{path}: {lines} lines"))
    });
    none(&long.collect::<Vec<_>>(), "split these, each part with one idea");
}

#[test]
fn nothing_is_left_undone() {
    // In halves, so that this file does not accuse itself.
    let words = [["TO", "DO"], ["FIX", "ME"], ["XX", "X"], ["unimplemented", "!("], ["todo", "!("]];
    none(&lines_with(sources(), &words.map(|w| w.concat())), "finish or take out");
}

#[test]
fn no_machine_is_spoken_of() {
    let folders = ["work", "tmp", "home", "root", "Users"].map(|folder| format!("/{folder}/"));
    none(&lines_with(written().into_iter(), &folders), "paths of one machine");
}

#[test]
fn crates_say_what_they_are_and_are_linted() {
    let mut offenders = vec![];
    let mut crates = 0;
    for (path, text) in written() {
        let Some(folder) = path.strip_suffix("/Cargo.toml") else { continue };
        crates += 1;
        if !text.contains("[lints]\nworkspace = true") {
            offenders.push(format!("{path}: no `[lints] workspace = true`"));
        }
        for name in ["src/lib.rs", "src/main.rs"] {
            let source = std::fs::read_to_string(root().join(folder).join(name)).unwrap_or_default();
            if !source.is_empty() && !source.starts_with("//!") {
                offenders.push(format!("{folder}/{name}: opens without a `//!` paragraph"));
            }
        }
    }
    assert!(crates >= 10, "the walk found only {crates} crates");
    none(&offenders, "crates");
}

#[test]
fn readme_gives_both_commands() {
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let commands = |begin: &str| readme.lines().filter(|line| line.starts_with(begin)).count();
    assert!(
        commands("cargo run --release --bin sedge -- quickstart") >= 1,
        "README.md does not show the quickstart"
    );
    assert_eq!(commands("cargo test "), 1, "README.md gives one test command; `.ci/run` runs that line");
    let ci = std::fs::read_to_string(root().join(".ci/run")).unwrap();
    assert!(
        !ci.contains("cargo test --workspace"),
        "`.ci/run` repeats the README's command, which would go stale"
    );
}
