//! Parsing and showing; what needs a process of its own is in `tests/command.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use clap::CommandFactory;
use clap::error::ErrorKind;

use super::*;

fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
    Cli::try_parse_from([&["sedge"], words].concat())
}

fn shown(words: &[&str]) -> Result<String, CliError> {
    let mut out = Vec::new();
    run(parse(words).unwrap(), &mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

#[test]
fn the_definition_is_sound() {
    Cli::command().debug_assert();
}

/// The lines that scripts depend on.
#[test]
fn every_promised_line_parses() {
    for line in [
        "quickstart --out DIR --seed 3",
        "pretrain CONFIG.toml --data PATH --method simclr --epochs 3 --seed 3 --out RUN",
        "pretrain --data PATH --out RUN",
        "pretrain --resume --out RUN",
        "evaluate --run RUN --data PATH --test PATH --json FILE",
        "evaluate --bundle FILE --data PATH",
        "evaluate --onnx FILE --data PATH",
        "export RUN --out FILE.sedge",
        "inspect FILE",
        "inspect FILE --json",
        "differentiate encoder.onnx --train last:2 --loss nt-xent --optimizer sgd --batch 32 --out step.onnx",
        "differentiate encoder.onnx --loss ntxent --budget-mb 64 --budget-ms 300 --plot FILE --out step.onnx",
        "differentiate E --mean -0.5,0.5,1 --std 1,1,1 --data PATH --bundle FILE --out step.onnx",
        "write-back encoder.onnx --step step.json --state s.safetensors --out trained.onnx",
        "boards",
        "boards rpi4 --json",
        "flash --board rpi4 --host pi@robot",
        "flash --board B --host H --bundle F --binary F --ssh ssh --port 22 --identity F --prefix /opt/sedge --dry-run",
        "flash --board B --host H --wait 90 --hold 20 --embeddings 0 --fresh --json",
        "flash --board B --image DIR --boot DIR --bundle F",
        "rollback --host pi@robot",
        "status --host pi@robot --json",
        "completions bash",
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        parse(&words).unwrap_or_else(|e| panic!("{line}: {e}"));
    }
}

#[test]
fn wrong_usage_is_seen_by_the_parser() {
    for (line, kind) in [
        ("evaluate --data PATH", ErrorKind::MissingRequiredArgument),
        ("flash --board B", ErrorKind::MissingRequiredArgument),
        ("flash --board B --host H --image I --bundle F", ErrorKind::ArgumentConflict),
        ("flash --board B --image I", ErrorKind::MissingRequiredArgument),
        ("flash --board B --host H --wait 0", ErrorKind::ValueValidation),
        ("evaluate --run R --onnx F --data PATH", ErrorKind::ArgumentConflict),
        ("pretrain --data PATH", ErrorKind::MissingRequiredArgument),
        ("pretrain --data PATH --out R --method magic", ErrorKind::InvalidValue),
        ("pretrain --data PATH --out R --epochs -1", ErrorKind::UnknownArgument),
        ("pretrian", ErrorKind::InvalidSubcommand),
        ("completions dos", ErrorKind::InvalidValue),
    ] {
        let words: Vec<&str> = line.split(' ').collect();
        assert_eq!(parse(&words).unwrap_err().kind(), kind, "{line}");
    }
}

#[test]
fn every_command_has_a_line_of_help_and_examples() {
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        assert!(command.get_about().is_some(), "{name}");
        let examples = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(examples.contains(&format!("sedge {name}")), "{name}");
    }
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = shown(&["completions", shell]).unwrap();
        assert!(script.contains("pretrain") && script.contains("warmup-epochs"), "{shell}");
    }
}

#[test]
fn a_cause_is_said_once() {
    let inner = std::io::Error::other("the disk is gone");
    let error = CliError::Read { path: "a.onnx".into(), source: inner };
    assert_eq!(explain(&error), "cannot read a.onnx: the disk is gone");
    let source = std::io::Error::other("the disk is gone");
    let said = crate::pretrain::ConfigError::Io { path: "c.toml".into(), source };
    assert_eq!(explain(&CliError::from(said)), "cannot read the configuration c.toml: the disk is gone");
}

#[test]
fn statuses_tell_usage_failure_and_a_reader_who_left() {
    let left = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
    assert_eq!(CliError::Output(left).status(), 0);
    let full = std::io::Error::from(std::io::ErrorKind::StorageFull);
    assert_eq!(CliError::Output(full).status(), 1);
    assert_eq!(CliError::Usage("x".into()).status(), 2);
    let no_data = shown(&["pretrain", "--out", "/nonexistent/run"]).unwrap_err();
    assert_eq!(no_data.status(), 2, "{no_data}");
    let mixed = shown(&["pretrain", "--resume", "--epochs", "3", "--out", "/nonexistent"]).unwrap_err();
    assert_eq!(mixed.status(), 2, "{mixed}");
}

mod inspecting {
    use std::path::Path;

    use prost::Message;
    use sedge_models::architecture::{Architecture, Form};
    use sedge_models::bundle::{AdaptationDefaults, Bundle, FORMAT, MadeBy, Manifest, Reference};
    use sedge_models::selection::Selection;
    use sedge_models::{InputSpec, TrainingStep};
    use serde_json::Value;

    use super::super::*;
    use super::shown;
    use crate::encoder::{Trained, board_step, onnx};

    fn bundle() -> Bundle {
        let architecture = Architecture::preset("image-tiny").unwrap();
        let input = InputSpec::image(32, 32, [0.5; 3], [0.25; 3]);
        let trained = Trained::fresh(&architecture, &input, 1).unwrap();
        let step: TrainingStep = board_step(&trained, &Selection::Head, 8, (0.1, 0.0, 0.5), 1).unwrap();
        let dim = architecture.embedding_dim();
        Bundle {
            manifest: Manifest {
                format: FORMAT,
                name: "tiny".into(),
                made_by: MadeBy {
                    version: "0.1.0".into(),
                    command: "sedge export run".into(),
                    config: String::new(),
                    seed: 1,
                    data_digest: "d1".into(),
                    method: "simclr".into(),
                    epochs: 2,
                },
                input,
                embedding_dim: dim,
                training: step.spec.clone(),
                adaptation: AdaptationDefaults {
                    lr: 0.1,
                    temperature: 0.5,
                    weight_decay: 0.0,
                    batch: step.spec.batch,
                    trains: "projection head".into(),
                },
                selection: None,
                plan: None,
                parts: Vec::new(),
            },
            encoder: onnx(&trained, Form::Folded).unwrap(),
            step,
            reference: Reference {
                inputs: ndarray::ArrayD::zeros(ndarray::IxDyn(&[2, 3, 32, 32])),
                embeddings: ndarray::Array2::zeros((2, dim)),
            },
        }
    }

    fn inspected(path: &Path, flags: &[&str]) -> Result<String, CliError> {
        shown(&[&["inspect", path.to_str().unwrap()], flags].concat())
    }

    /// A bundle of real graphs passes every check of the format, and is shown.
    #[test]
    fn a_bundle_is_shown_in_words_and_as_json() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.sedge");
        let bundle = bundle();
        bundle.write(&path).unwrap();
        let text = inspected(&path, &[]).unwrap();
        for wanted in ["tiny (format 1)", "image [3, 32, 32]", "weights.bin", "nt-xent", "views", "Conv"] {
            assert!(text.contains(wanted), "{wanted} is not in\n{text}");
        }
        let json: Value = serde_json::from_str(&inspected(&path, &["--json"]).unwrap()).unwrap();
        assert_eq!(json["kind"], "bundle");
        assert_eq!(json["digest"], bundle.digest().unwrap());
        assert_eq!(json["bytes"], std::fs::metadata(&path).unwrap().len());
        assert_eq!(json["manifest"]["parts"][0]["bytes"], bundle.encoder.len());
        assert_eq!(json["encoder"]["opset"], 17);
    }

    #[test]
    fn an_onnx_file_is_shown() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("encoder.onnx");
        std::fs::write(&path, &bundle().encoder).unwrap();
        let text = inspected(&path, &[]).unwrap();
        assert!(text.contains("ONNX model") && text.contains("parameters"), "{text}");
        let json: Value = serde_json::from_str(&inspected(&path, &["--json"]).unwrap()).unwrap();
        assert_eq!((&json["kind"], &json["inputs"][0]["name"]), (&"onnx".into(), &"x".into()));
    }

    #[test]
    fn what_is_neither_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let said = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            let error = inspected(&path, &[]).unwrap_err();
            assert_eq!(error.status(), 1);
            let said = explain(&error);
            assert!(said.contains(name), "{said}");
            said
        };
        assert!(said("torn.sedge", &bundle().to_bytes().unwrap()[..5000]).contains("cut short"));
        assert!(said("empty.onnx", b"").contains("no graph"));
        assert!(said("text.onnx", b"#!/bin/sh\necho hello\n").contains("ONNX"));
        let mut model = sedge_models::onnx::read::parse(&bundle().encoder).unwrap();
        model.opset_import[0].version = 3;
        assert!(said("old.onnx", &model.encode_to_vec()).contains("operator set 3"));
        let folder_error = inspected(folder.path(), &[]).unwrap_err();
        assert!(explain(&folder_error).contains("no plain file"));
        let absent = inspected(&folder.path().join("absent"), &[]).unwrap_err();
        assert!(matches!(absent, CliError::Read { .. }));
    }
}
